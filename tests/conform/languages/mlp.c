/* GGN and Laplace approximation of a tanh network, Gaussian noise, for `refbnn conform "cmd:./mlp"`. cc -O2 mlp.c -o mlp -lm */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { P = 200, N = 2000, K = 16, D = 32, LAYERS = 8 };   /* tables for the largest problem */
static int sizes[LAYERS + 1], depth, bias, n, d, k, p;
static double echo[1000], variance, X[N], y[N], theta[P], mean[P], P0[P * P];
static double f[K], J[K * P], loss, G[P * P], precision[P * P], C[P * P], covariance[P * P], log_det, log_evidence;

/* A tiny JSON reader. A value is the text where it starts. */
static const char *space(const char *s) { while (isspace((unsigned char)*s)) s++; return s; }
static int is(const char *s, const char *text) { return s && !strncmp(s + 1, text, strlen(text)) && s[strlen(text) + 1] == '"'; }
static const char *skip(const char *s) {   /* to the end of the value */
  int level = 0;
  do {
    if (*s == '"') { for (s++; *s && *s != '"'; s++) if (*s == '\\' && s[1]) s++; s += *s == '"'; }
    else if (*s == '{' || *s == '[') { level++; s++; }
    else if (*s == '}' || *s == ']') { level--; s++; }
    else s += level ? strcspn(s, "\"{}[]") : strcspn(s, ",]} \n");
  } while (level > 0 && *s);
  return s;
}
static const char *next(const char *s) { s = space(skip(s)); return space(s + (*s == ',')); }   /* the value after this one */

static const char *find(const char *object, const char *key) {   /* the value of a key, or NULL */
  for (const char *s = space(object + 1); *s == '"'; ) {
    const char *value = space(space(skip(s)) + 1);
    if (is(s, key)) return value;
    s = next(value);
  }
  return NULL;
}

static int numbers(const char *list, double *to, int most) {   /* how many there are */
  int count = 0;
  for (const char *s = space(list + 1); *s && *s != ']'; s = next(s), count++) if (count < most) to[count] = strtod(s, NULL);
  return count;
}
static int array(const char *of, const char *name, double *to, int most) { return numbers(find(find(of, name), "data"), to, most); }

static const char *read_problem(const char *problem) {   /* NULL, or why it is out of reach */
  double wide[LAYERS + 1];
  if (!is(find(problem, "activation"), "tanh") || !is(find(problem, "likelihood"), "normal")) return "only tanh and normal";
  depth = numbers(find(problem, "sizes"), wide, LAYERS + 1) - 1;
  for (int l = 0; l <= depth && l <= LAYERS; l++) if ((sizes[l] = wide[l]) > D) return "a layer is too wide";
  if (depth > LAYERS || (k = sizes[depth]) > K || (p = array(problem, "theta", theta, P)) > P) return "the network is too large";
  if ((n = array(problem, "X", X, N)) > N || array(problem, "y", y, N) > N) return "too many data";
  n /= d = sizes[0], bias = *find(problem, "bias") == 't';
  variance = strtod(find(problem, "variance"), NULL);
  array(problem, "prior_mean", mean, P), array(problem, "prior_precision", P0, P * P);
  return NULL;
}

static void network(int datum) {   /* f and J of one input, backwards from each output; theta is W (out x in), b, W, b ... */
  double a[LAYERS + 1][D], delta[D], back[D];
  int start[LAYERS], at = 0;
  memcpy(a[0], X + datum * d, d * sizeof(double));
  for (int l = 0; l < depth; at += sizes[l + 1] * (sizes[l] + bias), l++) {
    start[l] = at;
    for (int i = 0; i < sizes[l + 1]; i++) {
      double z = bias ? theta[at + sizes[l + 1] * sizes[l] + i] : 0;
      for (int j = 0; j < sizes[l]; j++) z += theta[at + i * sizes[l] + j] * a[l][j];
      a[l + 1][i] = l < depth - 1 ? tanh(z) : z;
    }
  }
  memcpy(f, a[depth], k * sizeof(double));
  for (int c = 0; c < k; c++) {
    for (int i = 0; i < k; i++) delta[i] = i == c;
    for (int l = depth - 1; l >= 0; l--) {
      double *W = theta + start[l], *row = J + c * p + start[l];
      for (int j = 0; j < sizes[l]; j++) back[j] = 0;
      for (int i = 0; i < sizes[l + 1]; i++) {
        for (int j = 0; j < sizes[l]; j++) row[i * sizes[l] + j] = delta[i] * a[l][j];
        if (bias) row[sizes[l + 1] * sizes[l] + i] = delta[i];
        for (int j = 0; j < sizes[l]; j++) back[j] += delta[i] * W[i * sizes[l] + j];
      }
      for (int j = 0; j < sizes[l]; j++) delta[j] = back[j] * (1 - a[l][j] * a[l][j]);
    }
  }
}
static double cholesky(const double *A) {   /* C Cᵀ = A; returns log |A| */
  double log_det = 0;
  for (int i = 0; i < p; i++) for (int j = 0; j <= i; j++) {
    double rest = A[i * p + j];
    for (int m = 0; m < j; m++) rest -= C[i * p + m] * C[j * p + m];
    C[i * p + j] = i == j ? sqrt(rest) : rest / C[j * p + j];
    if (i == j) log_det += 2 * log(C[i * p + i]);
  }
  return log_det;
}

static void solve(void) {
  loss = log_evidence = 0, memset(G, 0, sizeof G);
  for (int datum = 0; datum < n; datum++) {
    network(datum);
    for (int c = 0; c < k; c++) {
      double off = f[c] - y[datum * k + c];
      loss += off * off / (2 * variance) + 0.5 * log(2 * acos(-1) * variance);
      for (int i = 0; i < p; i++) for (int j = 0; j < p; j++) G[i * p + j] += J[c * p + i] * J[c * p + j] / variance;
    }
  }
  for (int i = 0; i < p * p; i++) precision[i] = G[i] + P0[i];
  for (int i = 0; i < p; i++) for (int j = 0; j < p; j++)
    log_evidence -= 0.5 * (theta[i] - mean[i]) * P0[i * p + j] * (theta[j] - mean[j]);
  log_evidence += -loss + 0.5 * cholesky(P0) - 0.5 * (log_det = cholesky(precision));
  for (int c = 0; c < p; c++) {   /* a column of the inverse, which is symmetric: a row will do */
    double *x = covariance + c * p;
    for (int i = 0; i < p; i++) { x[i] = i == c; for (int m = 0; m < i; m++) x[i] -= C[i * p + m] * x[m]; x[i] /= C[i * p + i]; }
    for (int i = p - 1; i >= 0; i--) { for (int m = i + 1; m < p; m++) x[i] -= C[m * p + i] * x[m]; x[i] /= C[i * p + i]; }
  }
}

static void print(const double *data, int rank, int rows, int columns) {   /* 17 digits give the same double back */
  printf(rank == 0 ? "{\"shape\":[" : rank == 1 ? "{\"shape\":[%d" : "{\"shape\":[%d,%d", rows, columns);
  printf("],\"data\":[");
  for (int i = 0; i < rows * columns; i++) printf("%s%.17g", i ? "," : "", data[i]);
  printf("]}");
}
int main(void) {
  char *line = NULL; size_t room = 0;
  while (getline(&line, &room, stdin) > 0) {
    const char *op = find(line, "op"), *id = find(line, "id"), *quantity = find(line, "quantity"), *gap = NULL;
    if (is(op, "stop")) break;
    printf("{\"id\":%.*s,\"ok\":true", (int)(skip(id) - id), id);
    if (is(op, "start"))
      printf(",\"protocol\":1,\"name\":\"mlp.c\",\"version\":\"1\",\"quantities\":[\"loss\",\"ggn.full\","
             "\"laplace.precision\",\"laplace.covariance\",\"laplace.log_det\",\"laplace.log_evidence\"]");
    if (is(op, "echo")) { int count = array(line, "array", echo, 1000); printf(",\"array\":"); print(echo, 1, count, 1); }
    if (is(op, "case") && !(gap = read_problem(find(line, "problem")))) solve();
    else if (is(op, "case")) {
      const char *name = space(find(line, "quantities") + 1);
      for (printf(",\"unsupported\":{"); *name == '"'; name = next(name))
        printf("%.*s:\"%s\"%s", (int)(skip(name) - name), name, gap, *space(skip(name)) == ',' ? "," : "}");
    }
    if (quantity) printf(",\"answer\":");
    if (is(quantity, "loss")) print(&loss, 0, 1, 1);
    if (is(quantity, "ggn.full")) print(G, 2, p, p);
    if (is(quantity, "laplace.precision")) print(precision, 2, p, p);
    if (is(quantity, "laplace.covariance")) print(covariance, 2, p, p);
    if (is(quantity, "laplace.log_det")) print(&log_det, 0, 1, 1);
    if (is(quantity, "laplace.log_evidence")) print(&log_evidence, 0, 1, 1);
    printf("}\n");
    fflush(stdout);
  }
  return free(line), 0;
}
