// The page of claims: choose a verdict, sort by a column. Without this script it is a plain table.
(() => {
  const table = document.querySelector("article table");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const verdictOf = (row) => row.cells[1].querySelector("strong").textContent;

  const counts = new Map();
  for (const row of rows) counts.set(verdictOf(row), (counts.get(verdictOf(row)) ?? 0) + 1);
  const choices = document.createElement("div");
  choices.className = "claims-filter";
  choices.setAttribute("role", "group");
  choices.setAttribute("aria-label", "Show claims by verdict");
  const buttons = [["all", rows.length], ...counts].map(([verdict, count]) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `${verdict} (${count})`;
    button.setAttribute("aria-pressed", String(verdict === "all"));
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      for (const row of rows) row.hidden = verdict !== "all" && verdictOf(row) !== verdict;
    });
    choices.append(button);
    return button;
  });
  table.before(choices);

  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const up = header.getAttribute("aria-sort") !== "ascending";
      for (const other of headers) other.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", up ? "ascending" : "descending");
      const text = (row) => row.cells[column].textContent;
      const sorted = [...rows].sort((a, b) =>
        text(a).localeCompare(text(b), "en", { numeric: true }));
      body.append(...(up ? sorted : sorted.reverse()));
    });
  });
})();
