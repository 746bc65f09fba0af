// What is wrong with a page as it stands in the window: called with the least contrast, returns a line a fault.
least => {
  const found = [], root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) {
    const inside = e => { for (e = e.parentElement; e; e = e.parentElement)
      if (getComputedStyle(e).overflowX !== "visible" && e !== document.body && e !== root) return true; return false; };
    const wide = [...document.querySelectorAll("article *")].filter(e => e.getBoundingClientRect().right > root.clientWidth + 1 && !inside(e));
    found.push(`${root.scrollWidth} wide in a window of ${root.clientWidth}: ` + wide.slice(0, 3).map(e =>
      `${e.tagName}.${e.className} ${e.textContent.slice(0, 50)}`).join(" | "));
  }
  for (const image of document.querySelectorAll("img")) {
    if (!(image.alt || "").trim()) found.push(`no alternative text: ${image.src}`);
    if (image.loading !== "lazy" && image.naturalWidth === 0) found.push(`picture does not load: ${image.src}`);
  }
  for (const error of document.querySelectorAll(".katex-error")) found.push(`mathematics does not parse: ${error.textContent}`);
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), colours = new Map();
  const parse = c => c.match(/[\d.]+/g).map(Number);
  const light = c => { const [r, g, b] = parse(c).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor, p = parse(c);
    if (p.length < 4 || p[3] > 0) return c; } return "rgb(255, 255, 255)"; };
  while (walk.nextNode()) {
    const node = walk.currentNode, parent = node.parentElement;
    if (parent.closest("script, style, noscript, annotation, .katex-mathml, svg, .headerlink") || !node.data.trim()) continue;
    if (!parent.closest("pre, code, .katex") && /\$\$|\$[^$\s][^$]*\$|\\(tag|frac|operatorname|mathcal|begin|theta|lambda)(?![a-z])/.test(node.data))
      found.push(`raw mathematics: ${node.data.trim().slice(0, 80)}`);
    if (!parent.closest("article") || !parent.getClientRects().length) continue;
    const key = getComputedStyle(parent).color + " on " + behind(parent);
    if (!colours.has(key)) colours.set(key, parent);
  }
  for (const [key, element] of colours) {
    const [a, b] = key.split(" on ").map(light).sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
    if (ratio < least) found.push(`contrast ${ratio.toFixed(1)}, ${key}: ${element.tagName} ${element.textContent.trim().slice(0, 40)}`);
  }
  for (const font of document.fonts) if (font.status === "error") found.push(`font does not load: ${font.family}`);
  return found;
}
