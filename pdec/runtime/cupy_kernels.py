"""The kernels: all steps of samples, there and back, in one launch."""

from __future__ import annotations

# --- CUDA C: all steps of some samples -----------------------------------------------

# An address list holds the fields (z), the inputs (x, and whether each sample has its
# own: how many rows), the targets, what else comes in (tangents, or cotangents of the
# last state, like z and x), and what goes out (like z and x, then the readouts).
_CUDA_KERNELS = r"""
struct Forward {
    double lanes[LANES];
    Values v;
};
struct Backward {
    double lanes[LANES];
    Values v;
    Cotangents v_bar;
    Sums sums;
};
struct Tangent {
    double lanes[LANES];
    Values v;
    Tangents v_dot;
};

// What a team works in: the memory of its chip, or a room of the device's memory.
#ifdef IN_CHIP
#define WORK_IN(Kind) \
    extern __shared__ __align__(16) unsigned char chip[]; \
    Kind &w = *(Kind *)chip
#else
#define WORK_IN(Kind) Kind &w = ((Kind *)room)[GROUP]
#endif
#define GROUP (blockIdx.x / BLOCKS)
#define GROUPS (gridDim.x / BLOCKS)
#define A_TEAM \
    {int(blockIdx.x % BLOCKS * THREADS + threadIdx.x), w.lanes, gates + GROUP}
#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)

// Bring in a sample; without a state, the model says how it begins.
__device__ void begin(
    Team team, long long s, long long n, const Word *given, const Shared &c, Values &v)
{
    take_inputs(team, s, given + AT_X, v);
# [feature: initial]
    if (given[AT_Z] == 0) {
        initial(team, 0, c, v);
        return;
    }
# [end]
    take_state(team, s, n, given + AT_Z, v);
}

// Steps start to end - 1 of all samples.
KERNEL run_samples(
    long long batch, long long start, long long end, const Word *given,
    const Shared *c, char *room, unsigned *gates)
{
    WORK_IN(Forward);
    Team team = A_TEAM;
    wipe(team, w);
    team.meet();
    for (long long s = GROUP; s < batch; s += GROUPS) {
        begin(team, s, start, given, *c, w.v);
        for (long long n = start; n < end; n++) step(team, n, *c, w.v);
        give_state(team, s, end, given + AT_Z_OUT, w.v);
    }
}

# [feature: readout]
// The readouts of states.
KERNEL read_samples(
    long long batch, const Word *given, const Shared *c, char *room, unsigned *gates)
{
    WORK_IN(Forward);
    Team team = A_TEAM;
    wipe(team, w);
    team.meet();
    for (long long s = GROUP; s < batch; s += GROUPS) {
        begin(team, s, 0, given, *c, w.v);
        readout(team, 0, *c, w.v);
        give_readouts(team, s, given + AT_READ_OUT, w.v);
    }
}

# [end]
# [feature: loss]
// The losses of states, with the targets of a snapshot.
KERNEL judge_samples(
    long long batch, long long number, const Word *given, const Shared *c,
    double *losses, char *room, unsigned *gates)
{
    WORK_IN(Forward);
    Team team = A_TEAM;
    wipe(team, w);
    team.meet();
    for (long long s = GROUP; s < batch; s += GROUPS) {
        begin(team, s, 0, given, *c, w.v);
        take_targets(team, s, number, given + AT_Y, w.v);
# [feature: readout]
        readout(team, 0, *c, w.v);
# [end]
        loss(team, 0, *c, w.v);
        if (team.lane == 0) losses[s] = loss_of(w.v);
        team.meet();
    }
}

# [end]
// The tangents of all steps.
KERNEL push_samples(
    long long batch, long long steps, const Word *given, const Shared *c,
    const SharedTangents *c_dot, char *room, unsigned *gates)
{
    WORK_IN(Tangent);
    Team team = A_TEAM;
    wipe(team, w);
    team.meet();
    for (long long s = GROUP; s < batch; s += GROUPS) {
        begin(team, s, 0, given, *c, w.v);
        take_inputs(team, s, given + AT_X_MORE, w.v_dot);
        if (given[AT_Z_MORE] != 0) take_state(team, s, 0, given + AT_Z_MORE, w.v_dot);
# [feature: initial]
        if (given[AT_Z_MORE] == 0) initial_jvp(team, 0, *c, w.v, *c_dot, w.v_dot);
# [end]
        for (long long n = 0; n < steps; n++)
            step_jvp(team, n, *c, w.v, *c_dot, w.v_dot);
        give_state(team, s, steps, given + AT_Z_OUT, w.v_dot);
    }
}

// The way there and back: from the loss after every so many steps (every > 0), or from
// given cotangents of the last state. The moves are rows (from, to, place); `kept` has
// a state for each place. A state is kept once the step from it has filled its ghost
// cells; of the two in hand, `held` says after how many steps they are.
KERNEL differentiate_samples(
    long long batch, long long steps, long long every, double loss_bar,
    long long slots, long long moves, const int *move, long long places, State *kept,
    const Word *given, const Shared *c, Totals *totals, double *losses, char *room,
    unsigned *gates)
{
    WORK_IN(Backward);
    Team team = A_TEAM;
    wipe(team, w);
    team.meet();
    State *own = kept + GROUP * places;
    for (long long slot = GROUP; slot < slots; slot += GROUPS) {
        Totals &total = totals[slot];
        for (long long s = slot * batch / slots; s < (slot + 1) * batch / slots; s++) {
            long long held[2] = {0, -1};
            begin(team, s, 0, given, *c, w.v);
            clear_sample(team, w.v_bar);
            if (every == 0) take_state(team, s, steps, given + AT_Z_MORE, w.v_bar);
            for (long long k = 0; k < moves; k++) {
                long long n = move[3 * k], end = move[3 * k + 1];
                State &at = own[move[3 * k + 2]];
                if (n < end) {
                    if (held[n % 2] != n) fetch(team, n, at, w.v);
                    step(team, n, *c, w.v);
                    keep(team, n, w.v, at);
                    for (long long m = n + 1; m < end; m++) step(team, m, *c, w.v);
                    held[end % 2] = end;
                    held[(end - 1) % 2] = end - 1;
                    continue;
                }
# [feature: loss]
                if (every > 0 && n % every == 0) {
                    long long number = n / every - 1;
                    take_targets(team, s, number, given + AT_Y, w.v);
# [feature: readout]
                    readout(team, n, *c, w.v);
# [end]
                    loss(team, n, *c, w.v);
                    if (team.lane == 0) losses[number + s * SNAPSHOTS] = loss_of(w.v);
                    set_loss(team, real(loss_bar), w.v_bar);
                    loss_vjp(team, n, *c, w.v, w.sums, total, w.v_bar);
                    join_levels(team, n, w.v_bar);
                }
# [end]
                if (held[end % 2] != end) fetch(team, end, at, w.v);
                held[end % 2] = end;
                step_vjp(team, end, *c, w.v, w.sums, total, w.v_bar);
            }
# [feature: initial]
            if (given[AT_Z] == 0)
                initial_vjp(team, 0, *c, w.v, w.sums, total, w.v_bar);
# [end]
            give_state(team, s, 0, given + AT_Z_OUT, w.v_bar);
            give_inputs(team, s, given + AT_X_OUT, w.v_bar);
            add_up(team, w.sums, total);
        }
        join_lanes(team, total);
    }
}

// Add rows up in their order, each column by a thread of its own.
template <class T> __device__ void add_rows(
    long long rows, long long columns, const T *all, double *total)
{
    for (long long k = blockIdx.x * (long long)blockDim.x + threadIdx.x; k < columns;
         k += (long long)gridDim.x * blockDim.x) {
        double sum = 0.0;
        for (long long row = 0; row < rows; row++) sum += all[row * columns + k];
        total[k] = sum;
    }
}
extern "C" __global__ void add_totals(
    long long rows, long long columns, const double *all, double *total)
{
    add_rows(rows, columns, all, total);
}
extern "C" __global__ void add_samples(
    long long rows, long long columns, const real *all, double *total)
{
    add_rows(rows, columns, all, total);
}
"""
