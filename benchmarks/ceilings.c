/* What the machine can do at most: operations of a core, and bytes it moves.

   Built by ceilings.py with gcc -O3 -march=native -ffast-math. */

/* Rounds of fused multiply-adds on 256 independent numbers, which stay in registers:
   2 * 256 * rounds operations. */
float multiply_add(long rounds, float x, float y) {
  float a[256];
  for (int i = 0; i < 256; i++) a[i] = i;
  for (long k = 0; k < rounds; k++) {
#pragma GCC unroll 256
    for (int i = 0; i < 256; i++) a[i] = a[i] * x + y;
  }
  float sum = 0;
  for (int i = 0; i < 256; i++) sum += a[i];
  return sum;
}

/* a = b + x c, as in McCalpin's STREAM (1995): 12 n bytes are read and written. */
void triad(long rounds, long n, float *restrict a, const float *restrict b,
           const float *restrict c, float x) {
  for (long k = 0; k < rounds; k++) {
    for (long i = 0; i < n; i++) a[i] = b[i] + x * c[i];
    __asm__ volatile("" : : "r"(a), "r"(b), "r"(c) : "memory");
  }
}
