// Quizzes that answer: the choices of a question become buttons, and the first one that is chosen
// counts. What is remembered stays in the browser. Where that is forbidden, reading it throws
// before anything is changed, and the page keeps its <details>.
(() => {
  const recall = () => JSON.parse(localStorage.getItem("progress") ?? "{}");
  const kept = recall();
  const keep = (name, value) => // undefined: forget it
    localStorage.setItem("progress", JSON.stringify({ ...recall(), [name]: value }));
  const element = (name, properties) => Object.assign(document.createElement(name), properties);
  const [score, forget] = document.querySelector("#quiz > .kept").children;
  const questions = [];

  function showScore() {
    const right = questions.filter((name) => recall()[name]?.right).length;
    score.textContent = `${right} of ${questions.length} right at the first try`;
  }

  function makeChoice(details, question) {
    const reason = element("div", { hidden: true });
    const button = element("button", { type: "button" });
    const told = element("div", { ariaLive: "polite" });
    const choice = element("div", { className: "choice" });
    button.append(...details.querySelector("summary").childNodes);
    details.querySelector("summary").remove();
    reason.append(...details.childNodes); // moved, so that MathJax still finds its formulas
    told.append(reason);
    choice.append(button, told);
    details.replaceWith(choice);

    const letter = button.textContent[0];
    const right = reason.textContent.trim().startsWith("Right.");
    const mark = () => (choice.dataset.verdict = right ? "right" : "wrong");
    if (kept[question]?.letter === letter) mark();
    button.addEventListener("click", () => {
      mark();
      reason.hidden = false;
      if (!recall()[question]) keep(question, { letter, right });
      showScore();
    });
  }

  for (const strong of document.querySelectorAll("#quiz > p > strong:first-child")) {
    const name = strong.textContent.toLowerCase().replace(/\.$/, ""); // quiz 2.1
    const text = strong.parentElement;
    const group = element("div", { className: "question", role: "group" });
    text.id = name.replace(/\W/g, "-");
    group.setAttribute("aria-labelledby", text.id);
    text.before(group);
    group.append(text);
    while (group.nextElementSibling?.localName === "details") {
      const details = group.nextElementSibling;
      group.append(details);
      makeChoice(details, name);
    }
    questions.push(name);
  }

  forget.addEventListener("click", () => {
    questions.forEach((name) => keep(name, undefined));
    for (const choice of document.querySelectorAll(".choice")) {
      delete choice.dataset.verdict;
      choice.querySelector("[aria-live] > div").hidden = true;
    }
    showScore();
  });

  for (const box of document.querySelectorAll(".kept input")) {
    box.checked = box.name in kept;
    box.addEventListener("change", () => keep(box.name, box.checked || undefined));
  }

  showScore();
  document.documentElement.classList.add("remembers");
})();
