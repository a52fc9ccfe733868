/* B1 by hand: value and gradient of the heterogeneous 1-D model, four samples at a time,
   forward over all layers and back in cache.  What the machine can do; built by
   speed.py with gcc -O3 -march=native -ffast-math.

   z (L + 1, S, N + 32) has 16 cells on each side, of which one is used: rows begin where
   vectors do.  a_m, a_0, a_p combine the moments; wide_m and wide_p are a_m and a_p
   continued periodically by a cell on each side. */
#include <string.h>

typedef float real;

/* tanh x as a quotient of polynomials, fitted on |x| <= 7.8 */
static inline real tanh_of(real x) {
  x = x > 7.8f ? 7.8f : x < -7.8f ? -7.8f : x;
  real u = x * x;
  real p = 1 + u * (0.12947552f + u * (0.0029744556f + u * 1.168123e-05f));
  real q = 1 + u * (0.46280821f +
                    u * (0.02391159f + u * (0.00024197667f + u * 2.5400981e-07f)));
  return x * p / q;
}

/* S samples, which is known when this is compiled: they share what a loop loads of the
   coefficients, and are added up before they go to the sums. */
static inline __attribute__((always_inline)) double
together(const int S, int batch, int N, int L, real w, const real *restrict z0,
         const real *restrict y, const real *restrict a_m, const real *restrict a_0,
         const real *restrict a_p, const real *restrict wide_m,
         const real *restrict wide_p, const real *restrict b, real *restrict states,
         real *restrict lambda, real *restrict alpha, real *restrict sums,
         double *restrict grads) {
  const int W = N + 32;  /* and cell 0 is at place 16 */
  double total = 0;
  real *restrict s_m = sums, *restrict s_0 = sums + N, *restrict s_p = sums + 2 * N,
       *restrict s_b = sums + 3 * N;
  for (int s = 0; s < S; s++)
    memcpy(states + s * W + 16, z0 + (long)s * N, N * sizeof(real));
  for (int n = 0; n < L; n++) {
    real *restrict z = states + (long)n * S * W, *restrict z_next = z + S * W;
    for (int s = 0; s < S; s++) {
      z[s * W + 15] = z[s * W + N + 15];
      z[s * W + N + 16] = z[s * W + 16];
    }
#pragma GCC ivdep
    for (int i = 0; i < N; i++)
#pragma GCC unroll 4
      for (int s = 0; s < S; s++) {
        const real *at = z + s * W + 16 + i;
        real Z = a_m[i] * at[-1] + a_0[i] * at[0] + a_p[i] * at[1] - b[i];
        z_next[s * W + 16 + i] = (1 - w) * at[0] + w * tanh_of(Z);
      }
  }
  for (int s = 0; s < S; s++) {
    const real *zL = states + ((long)L * S + s) * W + 16, *target = y + (long)s * N;
    real loss = 0;
    for (int i = 0; i < N; i++) {
      real d = zL[i] - target[i];
      loss += d * d;
      lambda[s * W + 16 + i] = d / ((real)N * batch);
    }
    total += 0.5 * loss / N;
  }
  memset(sums, 0, 4 * N * sizeof(real));
  for (int n = L - 1; n >= 0; n--) {
    const real *restrict z = states + (long)n * S * W, *restrict z_next = z + S * W;
#pragma GCC ivdep
    for (int i = 0; i < N; i++) {
      real m = 0, c = 0, p = 0, bias = 0;
#pragma GCC unroll 4
      for (int s = 0; s < S; s++) {
        const real *at = z + s * W + 16 + i;
        real f = (z_next[s * W + 16 + i] - (1 - w) * at[0]) * (1 / w);
        real a = w * (1 - f * f) * lambda[s * W + 16 + i];
        alpha[s * W + 16 + i] = a;
        m += a * at[-1];
        c += a * at[0];
        p += a * at[1];
        bias += a;
      }
      s_m[i] += m;
      s_0[i] += c;
      s_p[i] += p;
      s_b[i] -= bias;
    }
    for (int s = 0; s < S; s++) {
      alpha[s * W + 15] = alpha[s * W + N + 15];
      alpha[s * W + N + 16] = alpha[s * W + 16];
    }
#pragma GCC ivdep
    for (int i = 0; i < N; i++)
#pragma GCC unroll 4
      for (int s = 0; s < S; s++) {
        const real *at = alpha + s * W + 16 + i;
        real *to = lambda + s * W + 16 + i;
        *to = (1 - w) * *to + a_0[i] * at[0] + wide_m[i + 2] * at[1] + wide_p[i] * at[-1];
      }
  }
  for (int i = 0; i < 4 * N; i++) grads[i] += sums[i];
  return total;
}

/* Adds to the gradients in float64 (sums of four samples in float32); returns the sum of
   the losses of B samples, whose mean over all `batch` samples the gradients are of. */
double gradients(int B, int batch, int N, int L, real w, const real *z0, const real *y,
                 const real *a_m, const real *a_0, const real *a_p, const real *wide_m,
                 const real *wide_p, const real *b, real *states, real *lambda,
                 real *alpha, real *sums, double *grads) {
  double total = 0;
  int s = 0;
  for (; s + 4 <= B; s += 4)
    total += together(4, batch, N, L, w, z0 + (long)s * N, y + (long)s * N, a_m, a_0,
                      a_p, wide_m, wide_p, b, states, lambda, alpha, sums, grads);
  for (; s < B; s++)
    total += together(1, batch, N, L, w, z0 + (long)s * N, y + (long)s * N, a_m, a_0,
                      a_p, wide_m, wide_p, b, states, lambda, alpha, sums, grads);
  return total;
}
