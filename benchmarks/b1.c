/* B1 by hand: value and gradient of the heterogeneous 1-D model, one sample after the
   other, forward over all layers and back in cache.  What the machine can do; built by
   speed.py with gcc -O3 -march=native -ffast-math.

   z (L + 1, N + 2) has one ghost cell on each side; a_m, a_0, a_p combine the moments;
   wide_m and wide_p are a_m and a_p continued periodically by a cell on each side. */
#include <math.h>
#include <string.h>

typedef float real;

/* tanh x = (e - 1)/(e + 1), e = exp(2x) = 2^n exp(r), with a polynomial for exp(r) - 1 */
static inline real tanh_of(real x) {
  x = x > 10 ? 10 : x < -10 ? -10 : x;
  real y = 2 * x, n = floorf(y * 1.442695f + 0.5f), r = y - n * 0.6931472f;
  real q = 0.16666667f +
           r * (0.041666552f +
                r * (0.008333321f + r * (0.0013926552f + r * 0.00019883105f)));
  real p = r + r * r * (0.5f + r * q);
  union { int bits; real value; } power;
  power.bits = ((int)n + 127) << 23;
  real m = power.value * p + (power.value - 1);
  return m / (m + 2);
}

/* Adds to the gradients in float64 (sums of each sample in float32); returns the sum of
   the losses of B samples, whose mean over all `batch` samples the gradients are of. */
double gradients(int B, int batch, int N, int L, real w, const real *restrict z0,
                 const real *restrict y, const real *restrict a_m,
                 const real *restrict a_0, const real *restrict a_p,
                 const real *restrict wide_m, const real *restrict wide_p,
                 const real *restrict b, real *restrict states, real *restrict lambda,
                 real *restrict alpha, real *restrict sums, double *restrict grads) {
  int width = N + 2;
  double total = 0;
  real *restrict s_m = sums, *restrict s_0 = sums + N, *restrict s_p = sums + 2 * N,
       *restrict s_b = sums + 3 * N;
  for (int s = 0; s < B; s++) {
    memcpy(states + 1, z0 + (long)s * N, N * sizeof(real));
    for (int n = 0; n < L; n++) {
      real *restrict z = states + (long)n * width, *restrict z_next = z + width;
      z[0] = z[N];
      z[N + 1] = z[1];
      for (int i = 0; i < N; i++) {
        real Z = a_m[i] * z[i] + a_0[i] * z[i + 1] + a_p[i] * z[i + 2] - b[i];
        z_next[i + 1] = (1 - w) * z[i + 1] + w * tanh_of(Z);
      }
    }
    const real *zL = states + (long)L * width, *target = y + (long)s * N;
    real loss = 0;
    for (int i = 0; i < N; i++) {
      real d = zL[i + 1] - target[i];
      loss += d * d;
      lambda[i] = d / ((real)N * batch);
    }
    total += 0.5 * loss / N;
    memset(sums, 0, 4 * N * sizeof(real));
    for (int n = L - 1; n >= 0; n--) {
      const real *restrict z = states + (long)n * width, *restrict z_next = z + width;
      for (int i = 0; i < N; i++) {
        real f = (z_next[i + 1] - (1 - w) * z[i + 1]) * (1 / w);
        real a = w * (1 - f * f) * lambda[i];
        alpha[i + 1] = a;
        s_m[i] += a * z[i];
        s_0[i] += a * z[i + 1];
        s_p[i] += a * z[i + 2];
        s_b[i] -= a;
      }
      alpha[0] = alpha[N];
      alpha[N + 1] = alpha[1];
      for (int i = 0; i < N; i++)
        lambda[i] = (1 - w) * lambda[i] + a_0[i] * alpha[i + 1] +
                    wide_m[i + 2] * alpha[i + 2] + wide_p[i] * alpha[i];
    }
    for (int i = 0; i < 4 * N; i++) grads[i] += sums[i];
  }
  return total;
}
