// What CUDA C needs to run on a CPU: each thread of a block is a coroutine that runs
// until it waits for the others. Between two meetings the threads run one after another,
// in an order that the caller chooses: a missing meeting changes the result for some.
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define __device__
#define __global__
#define __shared__
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(n)

struct Index { unsigned x; };
static Index threadIdx, blockIdx, blockDim, gridDim;

namespace model { __align__(16) unsigned char chip[1 << 18]; }

namespace cpu {
enum State { READY, WAITS, DONE };
struct Thread {
    ucontext_t context;
    unsigned block, number;
    State state;
    char *stack;
};
static ucontext_t home;
static Thread *now;
static void (*kernel)(const long long *);
static const long long *words;

static void pause(State state)
{
    now->state = state;
    swapcontext(&now->context, &home);
}
static void body()
{
    kernel(words);
    pause(DONE);
}
static unsigned random_below(unsigned n)
{
    static unsigned long long state = 1;
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return unsigned(state >> 33) % n;
}
// Run the threads of blocks first to last - 1 until all are done.
static void run(unsigned first, unsigned last, unsigned threads, int order)
{
    const unsigned count = (last - first) * threads;
    const size_t room = 1 << 17;
    Thread *all = (Thread *)calloc(count, sizeof(Thread));
    unsigned *turn = (unsigned *)malloc(count * sizeof(unsigned));
    for (unsigned k = 0; k < count; k++) {
        Thread &t = all[k];
        t.block = first + k / threads, t.number = k % threads, t.state = READY;
        t.stack = (char *)malloc(room);
        getcontext(&t.context);
        t.context.uc_stack.ss_sp = t.stack;
        t.context.uc_stack.ss_size = room;
        t.context.uc_link = 0;
        makecontext(&t.context, body, 0);
        turn[k] = k;
    }
    for (unsigned left = count; left > 0;) {
        bool moved = false;
        for (unsigned k = count - 1; order == 2 && k > 0; k--) {
            unsigned other = random_below(k + 1), kept = turn[k];
            turn[k] = turn[other], turn[other] = kept;
        }
        for (unsigned k = 0; k < count; k++) {
            Thread &t = all[order == 1 ? count - 1 - k : turn[k]];
            if (t.state != READY) continue;
            moved = true;
            now = &t, threadIdx.x = t.number, blockIdx.x = t.block;
            swapcontext(&home, &t.context);
            left -= t.state == DONE;
        }
        for (unsigned block = 0; block < last - first; block++) {
            bool all_wait = true;
            for (unsigned k = block * threads; k < (block + 1) * threads; k++)
                all_wait &= all[k].state == WAITS;
            for (unsigned k = block * threads; all_wait && k < (block + 1) * threads; k++)
                all[k].state = READY, moved = true;
        }
        if (!moved) abort();  // some wait for others that have ended
    }
    for (unsigned k = 0; k < count; k++) free(all[k].stack);
    free(all), free(turn);
}
}  // namespace cpu

static inline void __syncthreads() { cpu::pause(cpu::WAITS); }
static inline void __threadfence() {}
static inline void __nanosleep(unsigned) { cpu::pause(cpu::READY); }
static inline unsigned atomicAdd(unsigned *at, unsigned more)
{
    unsigned before = *at;
    *at += more;
    return before;
}

// Launch a kernel with numbers and addresses as arguments. Blocks that wait for each
// other (`together` at a time) run together, others one after the other.
extern "C" void launch(
    void (*kernel)(const long long *), unsigned blocks, unsigned threads,
    unsigned together, int order, const long long *words)
{
    gridDim.x = blocks, blockDim.x = threads;
    cpu::kernel = kernel, cpu::words = words;
    for (unsigned first = 0; first < blocks; first += together) {
        memset(model::chip, 0xff, sizeof model::chip);
        cpu::run(first, first + together, threads, order);
    }
}
