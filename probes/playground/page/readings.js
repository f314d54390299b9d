"use strict";
// Numbers beside each other on one logarithmic scale, as a table with bars.

const NAMES = {
  telescoped: "bound: layer by layer (telescoped)",
  "residual-telescoped": "bound: block by block (telescoped)",
  "spectral-product": "bound: product of spectral norms",
  "theorem1-function-layerwise": "bound: Theorem 1, layerwise",
  "theorem1-function": "bound: Theorem 1",
};

function shownNumber(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e4)) return value.toExponential(1).replace("e+", "e");
  return String(Number(value.toPrecision(3)));
}

function row(name, text, log10, [low, high], kind) {
  const cell = (tag, content) => {
    const made = document.createElement(tag);
    made.textContent = content;
    return made;
  };
  const line = document.createElement("tr");
  const head = cell("th", name);
  head.scope = "row";
  const bar = document.createElement("span");
  bar.className = `bar ${kind}`;
  const share = log10 === null ? 0 : (Math.min(high, Math.max(low, log10)) - low) / (high - low);
  bar.style.width = `${100 * share}%`;
  const drawn = cell("td", "");
  drawn.className = "scale";
  drawn.append(bar);
  line.append(head, cell("td", text), drawn);
  if (kind === "fails") line.className = "fails";
  return line;
}

const log10Of = (value) => (value > 0 ? Math.log10(value) : null);

/** What a perturbation did, beside what is allowed. */
function showReadings(body, found) {
  const range = [-4, 4];
  const plain = (name, value, kind) => row(name, shownNumber(value), log10Of(value), range, kind);
  if (found.none !== undefined || !found.output_change) {
    body.replaceChildren(row(found.none ?? "move a layer to measure", "", null, range, ""));
    return;
  }
  const worst = Math.max(...found.breakdown.map((value) => value ?? 0));
  const at = found.breakdown.findIndex((value) => (value ?? 0) === worst) + 1;
  const noise = found.evidence[at - 1] ? "" : ", no evidence: within rounding";
  body.replaceChildren(
    plain("measured: the output's change, median", found.output_change[0], "measured"),
    plain("measured: the output's change, worst point", found.output_change[1], "measured"),
    ...found.bounds.map(({ claim, log10, premises_hold }) => {
      const name = (NAMES[claim] ?? claim) + (premises_hold ? "" : premises_hold === null ? " (premises unknown)" : " (a premise fails)");
      const text = log10 === null ? "∞" : log10 > 4 ? `10^${log10.toFixed(0)}` : shownNumber(10 ** log10);
      return row(name, text, log10 ?? range[1], range, premises_hold ? "allowed" : "fails");
    }),
    plain(`measured: the gradient's breakdown, layer ${at}${noise}`, worst, "measured"),
    plain("allowed: deep relative trust ∏(1 + r) − 1", found.trust, "allowed"),
    plain("measured: the loss after over before", found.loss[0] > 0 ? found.loss[1] / found.loss[0] : null, "measured"),
  );
}

/** The step limits. */
function showLimits(body, found) {
  const range = [-4, 0.5];
  if (found.none !== undefined) {
    body.replaceChildren(row(found.none, "", null, range, ""));
    return;
  }
  body.replaceChildren(
    ...Object.entries(found).map(([name, value]) => {
      const text = value === null ? "–" : `${shownNumber(100 * value)} %`;
      return row(name, text, value === null ? null : log10Of(value), range, name === "measured" ? "measured" : "allowed");
    }),
  );
}
