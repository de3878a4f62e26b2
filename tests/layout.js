// What a person would see at once on a page: it is wider than the window, controls are cut off, things lie over each
// other; and what a screen reader would miss: controls without a name. Evaluates to a list of complaints.
() => {
  const found = [],
    wide = document.documentElement.scrollWidth - window.innerWidth;
  if (wide > 0) found.push(`the page is ${wide} px wider than the window`);
  const dialog = document.querySelector("dialog[open]");
  const name = (node) =>
    `${node.tagName.toLowerCase()} “${(node.getAttribute("aria-label") || node.textContent || node.id).trim().slice(0, 40)}”`;
  const CONTROL = "a, button, input, select, summary, textarea",
    root = dialog ?? document.body;
  const words = (node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
  const shown = [...root.querySelectorAll("*")].filter(
    (node) =>
      (node.matches(CONTROL) || words(node)) &&
      !node.matches("option, script, noscript") &&
      node.checkVisibility({ opacityProperty: true, visibilityProperty: true }) &&
      !node.closest(".unseen, .skip, #notices, pre"),
  );
  const boxes = shown.map((node) => {
    const own = node.getBoundingClientRect();
    if (node.matches(CONTROL)) return own;
    const range = document.createRange();
    range.selectNodeContents(node);
    const text = range.getBoundingClientRect(); // of the words alone; what an ellipsis hides does not count
    const side = (name, which) =>
      getComputedStyle(node).overflow === "visible" ? text[name] : which(text[name], own[name]);
    return {
      left: side("left", Math.max),
      right: side("right", Math.min),
      top: side("top", Math.max),
      bottom: side("bottom", Math.min),
    };
  });
  shown.forEach((node, i) => {
    const a = boxes[i],
      scrolls = node.closest("nav, ul.problems");
    if (a.right - a.left < 1 || a.bottom - a.top < 1) return;
    if ((a.left < -1 || a.right > window.innerWidth + 1) && !scrolls) found.push(`${name(node)} is cut off`);
    if (node.matches("button, .button") && node.scrollWidth > node.clientWidth + 1)
      found.push(`the words of ${name(node)} do not fit`);
    for (let j = i + 1; j < shown.length; j += 1) {
      const b = boxes[j],
        other = shown[j];
      const over =
        Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
        Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
      if (over && !node.contains(other) && !other.contains(node)) found.push(`${name(node)} lies over ${name(other)}`);
    }
  });
  for (const node of document.querySelectorAll("a, button, input, select, iframe, progress, img")) {
    const named =
      node.getAttribute("aria-label") ||
      node.getAttribute("title") ||
      node.getAttribute("alt") !== null ||
      node.labels?.length ||
      (node.matches("a, button") && node.textContent.trim());
    if (node.checkVisibility() && !named) found.push(`no name: ${node.outerHTML.slice(0, 120)}`);
  }
  return found;
};
