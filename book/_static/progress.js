// The title page's table of what was read, answered and passed. It starts before what follows the
// table is there, so that nothing moves.
(() => {
  const progress = document.getElementById("progress");
  const rows = [...progress.querySelector("tbody").rows].map((row) => {
    const [title, read, questions, exercises] = [...row.cells].map((cell) => cell.firstChild);
    const numbers = [questions.textContent, exercises.textContent];
    return { chapter: title.textContent[0], read, questions, exercises, numbers };
  });

  function show() {
    const kept = JSON.parse(localStorage.getItem("progress") ?? "{}");
    const find = (start) => Object.keys(kept).filter((name) => name.startsWith(start));
    for (const { chapter, read, questions, exercises, numbers } of rows) {
      const answered = find(`quiz ${chapter}.`);
      const right = answered.filter((name) => kept[name].right).length;
      read.textContent = `read ${chapter}` in kept ? "yes" : "no";
      questions.textContent = `${answered.length} of ${numbers[0]}`;
      if (answered.length) questions.textContent += `, ${right} right`;
      exercises.textContent = `${find(`passed ${chapter}.`).length} of ${numbers[1]}`;
    }
    progress.hidden = Object.keys(kept).length === 0;
  }

  progress.querySelector("button").addEventListener("click", () => {
    if (!confirm("Forget which chapters, answers and checks this browser remembers?")) return;
    localStorage.removeItem("progress");
    show();
  });

  addEventListener("pageshow", show); // a page that the browser kept does not start again
  show();
})();
