"""What all device functions are made of: numbers, and the threads of a sample."""

from __future__ import annotations

# --- CUDA C: numbers, and the threads of a sample ------------------------------------

# The text below is compiled when it is first needed, once for float32 and for float64.
_CUDA_TOOLS = r"""
// What a compiler for the CPU needs instead of CUDA's own stands in PDEC_CPU.
#ifdef PDEC_CPU
#include PDEC_CPU
#endif
#ifndef REAL
#define REAL float
#endif
typedef REAL real;
typedef long long Word;  // a number, or the address of an array

#define LEAST (sizeof(real) == 4 ? real(-3.4028234e38) : real(-1.7976931348623157e308))

template <class T> __device__ T squared(T x) { return x * x; }
template <class T> __device__ T cubed(T x) { return x * x * x; }
template <class T> __device__ T raised(T x, int n)
{
    T product = 1;
    for (; n > 0; n /= 2, x *= x)
        if (n % 2) product *= x;
    return product;
}
__device__ real larger(real a, real b) { return a > b || a != a ? a : b; }
__device__ real smaller(real a, real b) { return a < b || a != a ? a : b; }
__device__ real sign(real x) { return x != x ? x : real((x > 0) - (x < 0)); }
__device__ real softplus(real x)
{
    return larger(x, 0) + log1p(exp(-fabs(x)));
}
"""

_CUDA_TEAM = r"""
// A thread among the LANES threads of a sample, which lie in BLOCKS blocks.
#define LANES (THREADS * BLOCKS)

struct Team {
    int lane;
    double *lanes;   // a number of each thread
    unsigned *gate;  // how often blocks came to a meeting

    // Wait until all are here: what each has written, all can read.
    __device__ void meet()
    {
        if (BLOCKS == 1) {
            __syncthreads();
            return;
        }
        __threadfence();
        __syncthreads();
        if (threadIdx.x == 0) {
            unsigned before = atomicAdd(gate, 1u);
            unsigned all_here = (before / BLOCKS + 1) * BLOCKS;
            while (*(volatile unsigned *)gate < all_here) __nanosleep(32);
            __threadfence();
        }
        __syncthreads();
    }

    // The sum of the threads' numbers, always added in the same order.
    __device__ double added(double value)
    {
        lanes[lane] = value;
        meet();
        for (int n = LANES, half = (n + 1) / 2; n > 1; n = half, half = (n + 1) / 2) {
            if (lane + half < n) lanes[lane] += lanes[lane + half];
            meet();
        }
        double total = lanes[0];
        meet();
        return total;
    }

    __device__ double largest(double value)
    {
        lanes[lane] = value;
        meet();
        for (int n = LANES, half = (n + 1) / 2; n > 1; n = half, half = (n + 1) / 2) {
            double other = lane + half < n ? lanes[lane + half] : lanes[lane];
            if (other > lanes[lane] || other != other) lanes[lane] = other;
            meet();
        }
        double total = lanes[0];
        meet();
        return total;
    }

    // Let the first of each row of the threads' sums be their total.
    template <class T> __device__ void join(T &rows)
    {
        double (*all)[LANES] = (double (*)[LANES]) & rows;
        for (int k = 0; k < int(sizeof(T) / sizeof(*all)); k++) {
            double total = added(all[k][lane]);
            all[k][lane] = lane == 0 ? total : 0.0;
        }
        meet();
    }
};

// The first number of an array of arrays.
template <class T> __device__ T *first(T &x) { return &x; }
template <class T, int n> __device__ auto *first(T (&x)[n]) { return first(x[0]); }

template <class T> __device__ void wipe(Team team, T &all)
{
    real *numbers = (real *)&all;
    for (int i = team.lane; i < int(sizeof(T) / sizeof(real)); i += LANES)
        numbers[i] = 0;
}
template <class T> __device__ void copy(Team team, const T &from, T &to)
{
    const real *given = (const real *)&from;
    real *all = (real *)&to;
    for (int i = team.lane; i < int(sizeof(T) / sizeof(real)); i += LANES)
        all[i] = given[i];
}
template <class T, class U> __device__ void add(Team team, const T &from, U &to)
{
    const real *given = (const real *)&from;
    auto *all = first(to);
    for (int i = team.lane; i < int(sizeof(T) / sizeof(real)); i += LANES)
        all[i] += given[i];
}
"""
