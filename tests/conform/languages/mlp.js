"use strict"; // GGN and Laplace approximation of a multilayer perceptron, for `refbnn conform "cmd:node mlp.js"`. No dependencies.
const activations = { // value and derivative
  tanh: z => { const t = Math.tanh(z); return [t, 1 - t * t]; },
  sigmoid: z => { const s = 1 / (1 + Math.exp(-z)); return [s, s * (1 - s)]; },
  relu: z => z > 0 ? [z, 1] : [0, 0],
  identity: z => [z, 1],
};

// What a likelihood makes of one output row f and its target y: loss l, its gradient r and its second derivatives L.
const likelihoods = {
  normal: (f, y, { variance }) => ({
    l: sum(f.map((v, k) => (v - y[k]) ** 2 / (2 * variance) + 0.5 * Math.log(2 * Math.PI * variance))),
    r: f.map((v, k) => (v - y[k]) / variance),
    L: square(f.length, (i, j) => i === j ? 1 / variance : 0),
  }),
  categorical: (f, y) => {
    const top = Math.max(...f), total = sum(f.map(v => Math.exp(v - top))), p = f.map(v => Math.exp(v - top) / total);
    return {
      l: top + Math.log(total) - f[y],
      r: p.map((v, k) => v - (k === y ? 1 : 0)),
      L: square(f.length, (i, j) => (i === j ? p[i] : 0) - p[i] * p[j]),
    };
  },
};

const sum = list => list.reduce((a, b) => a + b, 0);
const square = (n, entry) => Array.from({ length: n }, (_, i) => Array.from({ length: n }, (_, j) => entry(i, j)));
const rows = ({ shape, data }) => Array.from({ length: shape[0] }, (_, i) =>
  shape.length === 1 ? data[i] : data.slice(i * shape[1], (i + 1) * shape[1]));
const array = (value, shape) => ({ shape, data: shape.length ? value.flat(Infinity) : [value] });

// θ is layer by layer W (out × in, row by row), then b.
function layersOf({ sizes, bias, theta }) {
  let at = 0;
  return sizes.slice(1).map((out, l) => {
    const into = sizes[l], start = at;
    const W = Array.from({ length: out }, (_, i) => theta.data.slice(start + i * into, start + (i + 1) * into));
    const b = bias ? theta.data.slice(at + out * into, at + out * into + out) : Array(out).fill(0);
    at += out * into + (bias ? out : 0);
    return { W, b, into, out, start };
  });
}

// The outputs f and the Jacobian J[k][p] for one input, backwards from each output.
function network(problem, layers, x) {
  const phi = activations[problem.activation], inputs = [x], slopes = [];
  layers.forEach(({ W, b }, l) => {
    const z = W.map((row, i) => sum(row.map((w, j) => w * inputs[l][j])) + b[i]);
    const pairs = z.map(v => l < layers.length - 1 ? phi(v) : [v, 1]);
    inputs.push(pairs.map(pair => pair[0]));
    slopes.push(pairs.map(pair => pair[1]));
  });
  const J = inputs.at(-1).map((_, k) => {
    const row = Array(problem.theta.data.length).fill(0);
    let delta = inputs.at(-1).map((_, i) => i === k ? 1 : 0); // ∂f_k / ∂z of the layer
    for (let l = layers.length - 1; l >= 0; l--) {
      const { W, into, out, start } = layers[l];
      delta.forEach((d, i) => {
        inputs[l].forEach((a, j) => { row[start + i * into + j] = d * a; });
        if (problem.bias) row[start + out * into + i] = d;
      });
      if (l > 0) delta = inputs[l].map((_, j) => sum(delta.map((d, i) => d * W[i][j])) * slopes[l - 1][j]);
    }
    return row;
  });
  return { f: inputs.at(-1), J };
}

function cholesky(A) { // lower
  const C = square(A.length, () => 0);
  A.forEach((row, i) => {
    for (let j = 0; j <= i; j++) {
      const rest = row[j] - sum(C[i].slice(0, j).map((c, k) => c * C[j][k]));
      if (i === j && !(rest > 0)) throw new Error("G + P0 is not positive definite");
      C[i][j] = i === j ? Math.sqrt(rest) : rest / C[j][j];
    }
  });
  return C;
}

function inverse(C) { // of C Cᵀ, column by column
  return C.map((_, column) => {
    const x = C.map((_, i) => i === column ? 1 : 0);
    for (let i = 0; i < x.length; i++) x[i] = (x[i] - sum(C[i].slice(0, i).map((c, k) => c * x[k]))) / C[i][i];
    for (let i = x.length - 1; i >= 0; i--) {
      for (let k = i + 1; k < x.length; k++) x[i] -= C[k][i] * x[k];
      x[i] /= C[i][i];
    }
    return x;
  });
}
const logDet = A => 2 * sum(cholesky(A).map((row, i) => Math.log(row[i])));

function solve(problem) { // everything about a problem
  const layers = layersOf(problem), X = rows(problem.X), y = rows(problem.y), p = problem.theta.data.length;
  const net = X.map(x => network(problem, layers, x));
  const parts = net.map(({ f }, n) => likelihoods[problem.likelihood](f, y[n], problem));
  const G = square(p, () => 0), gradient = Array(p).fill(0);
  net.forEach(({ J }, n) => J.forEach((Jk, k) => {
    for (let a = 0; a < p; a++) {
      gradient[a] += parts[n].r[k] * Jk[a];
      const LJ = sum(J.map((Jj, j) => parts[n].L[k][j] * Jj[a]));
      for (let b = 0; b < p; b++) G[a][b] += Jk[b] * LJ;
    }
  }));
  return { net, layers, G, gradient, p, loss: sum(parts.map(part => part.l)), P0: rows(problem.prior_precision), problem };
}
const precision = ({ G, P0 }) => G.map((row, i) => row.map((v, j) => v + P0[i][j]));

const quantities = {
  "forward": s => array(s.net.map(({ f }) => f), [s.net.length, s.net[0].f.length]),
  "loss": s => array(s.loss, []),
  "gradient": s => array(s.gradient, [s.p]),
  "jacobian": s => array(s.net.map(({ J }) => J), [s.net.length, s.net[0].f.length, s.p]),
  "ggn.full": s => array(s.G, [s.p, s.p]),
  "laplace.precision": s => array(precision(s), [s.p, s.p]),
  "laplace.covariance": s => array(inverse(cholesky(precision(s))), [s.p, s.p]),
  "laplace.log_det": s => array(logDet(precision(s)), []),
  "laplace.log_evidence": s => {
    const off = s.problem.theta.data.map((t, i) => t - s.problem.prior_mean.data[i]);
    const quadratic = sum(s.P0.map((row, i) => off[i] * sum(row.map((v, j) => v * off[j]))));
    return array(-s.loss - 0.5 * quadratic + 0.5 * logDet(s.P0) - 0.5 * logDet(precision(s)), []);
  },
};

let state = null; // of the case that was asked about last
const operations = {
  start: () => ({ protocol: 1, name: "mlp.js", version: "1", conventions: {}, quantities: Object.keys(quantities) }),
  echo: ({ array }) => ({ array }),
  case: ({ problem, quantities }) => {
    const { activation, likelihood } = problem;
    const reason = activation in activations && likelihood in likelihoods ? null : `no ${activation} with ${likelihood}`;
    state = reason ? null : solve(problem);
    return { unsupported: reason ? Object.fromEntries(quantities.map(name => [name, reason])) : {} };
  },
  run: ({ quantity }) => ({ answer: quantities[quantity](state) }),
};

require("node:readline").createInterface({ input: process.stdin }).on("line", line => {
  const request = JSON.parse(line);
  if (request.op === "stop") process.exit(0);
  let reply;
  try {
    reply = { id: request.id, ok: true, ...operations[request.op](request) };
  } catch (error) {
    reply = { id: request.id, ok: false, error: String(error) };
  }
  console.log(JSON.stringify(reply));
});
