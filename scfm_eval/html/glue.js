import DataTable, { set_or_remove_dark_class } from "itables";
import "vega";

// DataTables would tell of a fault by an alert
DataTable.ext.errMode = "throw";
const embedding = {
  renderer: "svg",
  logLevel: 1,
  actions: { export: true, source: false, compiled: false, editor: false },
  config: { background: "transparent" },
};
const tables = [];

const read = async (script) => {
  if (script.type === "application/json") return JSON.parse(script.textContent);
  const bytes = Uint8Array.from(atob(script.textContent), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
};
const show = async (box) => {
  watcher.unobserve(box);
  if (box.dataset.shown) return;
  box.dataset.shown = "begun";
  const given = await read(box.querySelector("script"));
  const place = box.querySelector("[data-place]");
  if (box.dataset.kind === "chart") await window.vegaEmbed(place, given, embedding);
  else tables.push(new DataTable(place, given));
  box.dataset.shown = "done";
};
const watcher = new IntersectionObserver(
  (seen) => seen.filter((one) => one.isIntersecting).forEach((one) => show(one.target)),
  { rootMargin: "400px" },
);
const boxes = [...document.querySelectorAll("[data-kind]")];
boxes.forEach((box) => watcher.observe(box));

const lengthen = (length) =>
  tables.filter((one) => one.rows().count() <= 200).forEach((one) => one.page.len(length ?? one.init().pageLength).draw());
addEventListener("beforeprint", async () => {
  document.querySelectorAll("details").forEach((one) => (one.open = true));
  document.documentElement.classList.remove("dark");
  await Promise.all(boxes.map(show));
  lengthen(-1);
});
addEventListener("afterprint", () => {
  lengthen();
  set_or_remove_dark_class();
});
set_or_remove_dark_class();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", set_or_remove_dark_class);
