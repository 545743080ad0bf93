// A small dialog with a few text fields.

import { el } from "../../viewer/dom.js";
import { sentence } from "../../viewer/format.js";
import { action, setVisible } from "../elements.js";

/** @typedef {{name: string, label: string, value: string}} FieldOf */

/** A question: `take` gets the answers by field, and returns why they are refused, or "". @typedef {{title: string, fields: FieldOf[], done: string, take: (answers: Record<string, string>) => Promise<string>}} Question */

export class QuestionDialog {
  constructor() {
    this.node = el("dialog", "tdw-picker");
    /** @type {Question | null} */
    this.question = null;
    /** @type {Map<string, HTMLInputElement>} */
    this.inputs = new Map();
    this.reason = el("p", "tdw-reason", "", { role: "alert" });
  }
  /** @param {Question} question */
  open(question) {
    this.question = question;
    this.inputs = new Map(
      question.fields.map(({ name, value }) => {
        const input = el("input", "tdw-search", null, {
          type: "text",
          spellcheck: "false",
          id: `tdw-question-${name}`,
        });
        input.value = value;
        input.addEventListener("keydown", (event) => {
          if (event.key !== "Enter") return;
          event.preventDefault();
          this.answer();
        });
        return [name, input];
      }),
    );
    const fields = question.fields.flatMap(({ name, label }) => [
      el("label", "tdw-label", label, { for: `tdw-question-${name}` }),
      /** @type {HTMLInputElement} */ (this.inputs.get(name)),
    ]);
    const done = action(question.done, () => this.answer());
    done.classList.add("tdw-primary");
    const buttons = el("div", "tdw-actions");
    buttons.append(
      done,
      action("Cancel", () => this.node.close()),
    );
    setVisible(this.reason, "");
    this.node.replaceChildren(el("h2", null, question.title), ...fields, this.reason, buttons);
    this.node.setAttribute("aria-label", question.title);
    this.node.showModal();
    this.inputs.values().next().value?.select();
  }
  async answer() {
    if (!this.question) return;
    const answers = Object.fromEntries([...this.inputs].map(([name, input]) => [name, input.value]));
    const error = await this.question.take(answers);
    setVisible(this.reason, error ? sentence(error) : "");
    if (!error) this.node.close();
  }
}
