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

struct Index { unsigned x, y; };
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
// The memory of the chip is that of one block at a time.
static void lend_chip(unsigned block, size_t bytes)
{
    static unsigned char *kept = 0;
    static unsigned now = 0;
    if (block == now && kept) return;
    kept = (unsigned char *)realloc(kept, (gridDim.x * gridDim.y + 1) * bytes + 1);
    memcpy(kept + now * bytes, model::chip, bytes);
    memcpy(model::chip, kept + block * bytes, bytes);
    now = block;
}
// Run the threads of blocks first to last - 1 until all are done.
static void run(
    unsigned first, unsigned last, unsigned threads, int order, size_t shared)
{
    const unsigned count = (last - first) * threads;
    const size_t room = 1 << 17;
    static char *stacks[1 << 14];
    if (count > 1 << 14) abort();  // more threads at a time than this can do
    Thread *all = (Thread *)calloc(count, sizeof(Thread));
    unsigned *turn = (unsigned *)malloc(count * sizeof(unsigned));
    for (unsigned k = 0; k < count; k++) {
        Thread &t = all[k];
        t.block = first + k / threads, t.number = k % threads, t.state = READY;
        if (!stacks[k]) stacks[k] = (char *)malloc(room);
        t.stack = stacks[k];
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
            now = &t, threadIdx.x = t.number;
            blockIdx.x = t.block % gridDim.x, blockIdx.y = t.block / gridDim.x;
            if (last - first > 1) lend_chip(t.block, shared);
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
    free(all), free(turn);
}
}  // namespace cpu

static inline void __syncthreads() { cpu::pause(cpu::WAITS); }

// Launch a kernel with numbers and addresses as arguments. Blocks run one after the
// other, or `together`: what one writes and another one reads then depends on the order.
extern "C" void launch(
    void (*kernel)(const long long *), unsigned blocks, unsigned rows, unsigned threads,
    bool together, int order, unsigned shared, const long long *words)
{
    gridDim.x = blocks, gridDim.y = rows, blockDim.x = threads;
    cpu::kernel = kernel, cpu::words = words;
    const unsigned all = blocks * rows, some = together ? all : 1;
    for (unsigned first = 0; first < all; first += some) {
        memset(model::chip, 0xff, sizeof model::chip);
        cpu::run(first, first + some, threads, order, shared);
    }
}
