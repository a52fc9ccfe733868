"""Products of channels by tiles: what targets/tiles.py writes calls this."""

from __future__ import annotations

# --- CUDA C: products ----------------------------------------------------------------

_CUDA_TILES = r"""
#define CONSTANT constexpr __device__ int
CONSTANT least_power(int n) { return n < 2 ? 1 : 2 * least_power((n + 1) / 2); }
CONSTANT most_power(int n) { return n < 2 ? 1 : 2 * most_power(n / 2); }
CONSTANT smaller_of(int a, int b) { return a < b ? a : b; }
CONSTANT steps_of(int n, int step) { return (n + step - 1) / step; }

// Sums of left(row, term) * right(term, column) over the terms, for all rows, columns.
// A block has a tile of them at a time, and a thread R x C of these in registers; what
// they are made of comes by way of the chip, Q terms at a time. The terms have so many
// parts, summed apart. Threads that load are beside each other where terms are, in
// memory, if `beside`, else where columns are.
template <
    int rows, int columns, int terms, int parts = 1, bool beside = false, class Left,
    class Right, class Result>
__device__ void multiply(Team team, Left left, Right right, Result result)
{
    constexpr bool many = (long long)rows * columns * parts >= 16LL * LANES;
    constexpr int down =
        smaller_of(least_power(steps_of(rows, many ? 8 : 4)), most_power(THREADS));
    constexpr int R = smaller_of(steps_of(rows, down), 8), C = many ? 2 : 1;
    constexpr int across =
        smaller_of(most_power(THREADS / down), least_power(steps_of(columns, C)));
    constexpr int high = down * R, wide = across * C, slot = steps_of(R, 4) * 4;
    constexpr int a_step = down * slot + 4 * beside, b_step = wide + beside;
    constexpr int Q = smaller_of(16, most_power(TILES / (a_step + b_step)));
    static_assert(Q * (a_step + b_step) <= TILES, "tiles");
    constexpr int part = steps_of(terms, parts);
    constexpr int tiles_down = steps_of(rows, high), tiles = steps_of(columns, wide);
    real *a = (real *)__builtin_assume_aligned(team.lanes, 16), *b = a + Q * a_step;
    const int thread = threadIdx.x, my_row = thread / across;
    const int my_column = thread % across;
    for (int at = team.lane / THREADS; at < parts * tiles_down * tiles; at += BLOCKS) {
        const int number = at / (tiles_down * tiles), low = number * part;
        const int end = smaller_of(low + part, terms);
        const int row_0 = at / tiles % tiles_down * high, column_0 = at % tiles * wide;
        real sums[R][C] = {};
        for (int first = low; first < end; first += Q) {
            for (int i = thread; i < Q * high; i += THREADS) {
                const int q = beside ? i % Q : i / high, r = beside ? i / Q : i % high;
                const bool there = row_0 + r < rows && first + q < end;
                real &place = a[q * a_step + r / R * slot + r % R];
                place = there ? left(row_0 + r, first + q) : real(0.0);
            }
            for (int i = thread; i < Q * wide; i += THREADS) {
                const int q = beside ? i % Q : i / wide, k = beside ? i / Q : i % wide;
                const bool there = column_0 + k < columns && first + q < end;
                b[q * b_step + k] = there ? right(first + q, column_0 + k) : real(0.0);
            }
            __syncthreads();
            if (my_row < down)
                for (int q = 0; q < Q; q++)
                    for (int r = 0; r < R; r++)
                        for (int k = 0; k < C; k++)
                            sums[r][k] += a[q * a_step + my_row * slot + r]
                                * b[q * b_step + my_column + across * k];
            __syncthreads();
        }
        for (int r = 0; r < R && my_row < down; r++)
            for (int k = 0; k < C; k++) {
                const int row = row_0 + my_row * R + r;
                const int column = column_0 + my_column + across * k;
                if (row < rows && column < columns)
                    result(row, column, number, sums[r][k]);
            }
    }
}
"""
