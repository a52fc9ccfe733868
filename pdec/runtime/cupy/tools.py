"""What all device functions are made of: numbers, and the threads of a sample."""

from __future__ import annotations

# --- CUDA C: numbers, and the threads of a sample ------------------------------------

# The text below is compiled when it is first needed, once for float32 and for float64.
_CUDA_TOOLS = r"""
// What a compiler for the CPU needs instead of CUDA's own stands in PDEC_CPU.
#ifdef PDEC_CPU
#include PDEC_CPU
#endif
#pragma nv_diag_suppress 177  // a kernel need not use all that its macro names
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
// A thread among the LANES threads of a sample, which lie in BLOCKS blocks. One block
// goes through all phases; several have a launch for each, and do not meet.
#define LANES (THREADS * BLOCKS)
// What threads of a block share: a number of each, or tiles of a product; in doubles.
#define ROOM (TILES * sizeof(real) > THREADS * 8 ? TILES * sizeof(real) / 8 : THREADS)

struct Team {
    int lane;
    double *lanes;  // the ROOM of the block: a number of each thread

    // Wait until all are here: what each has written, all can read.
    __device__ void meet()
    {
        if (BLOCKS == 1) __syncthreads();
    }

    // The sum of the numbers of a block, always added in the same order.
    __device__ double added(double value)
    {
        const int k = threadIdx.x;
        lanes[k] = value;
        __syncthreads();
        for (int n = THREADS, half = (n + 1) / 2; n > 1; n = half, half = (n + 1) / 2) {
            if (k + half < n) lanes[k] += lanes[k + half];
            __syncthreads();
        }
        double total = lanes[0];
        __syncthreads();
        return total;
    }

    __device__ double largest(double value)
    {
        const int k = threadIdx.x;
        lanes[k] = value;
        __syncthreads();
        for (int n = THREADS, half = (n + 1) / 2; n > 1; n = half, half = (n + 1) / 2) {
            double other = k + half < n ? lanes[k + half] : lanes[k];
            if (other > lanes[k] || other != other) lanes[k] = other;
            __syncthreads();
        }
        double total = lanes[0];
        __syncthreads();
        return total;
    }

    // Add to a sum that is kept in parts: one of each thread, or of each block.
    __device__ void share(double *parts, double value)
    {
        if (BLOCKS == 1) {
            parts[lane] += value;
            return;
        }
        value = added(value);
        if (threadIdx.x == 0) parts[blockIdx.x] += value;
    }

    // Keep the sum, or the largest, of the numbers of this block as its part.
    __device__ void keep(real *parts, double value)
    {
        value = added(value);
        if (threadIdx.x == 0) parts[blockIdx.x] = value;
    }
    __device__ void keep_largest(real *parts, double value)
    {
        value = largest(value);
        if (threadIdx.x == 0) parts[blockIdx.x] = value;
    }

    // Let the first of each row of parts be their total.
    template <int parts> __device__ void join(double (&row)[parts], int number = 0)
    {
        if (BLOCKS == 1) {
            double total = added(row[lane]);
            if (lane == 0) row[0] = total;
        } else if (number % LANES == lane) {
            for (int k = 1; k < parts; k++) row[0] += row[k];
        }
    }
    template <class T, int n> __device__ void join(T (&rows)[n], int number = 0)
    {
        for (int k = 0; k < n; k++) join(rows[k], number * n + k);
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

# kernels of their own: compiled whatever else is
_CUDA_ADD = r"""
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
