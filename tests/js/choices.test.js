import assert from "node:assert/strict";
import { test } from "node:test";
import { axisOf, Choices } from "../../tdw/viewer/choices.js";

const choice = (options, more = {}) => ({
  title: "",
  options,
  names: options,
  chosen: 0,
  short: [],
  prefix: "",
  plural: "",
  ...more,
});
const spec = {
  choices: {
    rule: choice(["cosine", "clusters"], { title: "Rule", prefix: "by ", plural: "Rules" }),
    side: choice(["all pairs", "train pairs"], { chosen: 1, short: ["all", "train"], plural: "Sides" }),
  },
  compare: ["rule", "side"],
};

test("a place in an array follows what is chosen, and fixed options win", () => {
  const choices = new Choices({});
  choices.update({ choices: spec.choices });
  const array = { shape: [9, 2, 2, 5] }; // rows, rule, side, y
  assert.deepEqual(choices.place(array, ["rule", "side", "y"]), { from: 5, step: { y: 1, x: 0 } });
  assert.deepEqual(choices.place(array, ["rule", "side", "y"], { rule: 1 }), { from: 15, step: { y: 1, x: 0 } });
  assert.deepEqual(choices.place({ shape: [9, 4, 3, 5] }, ["x", 2, "y"]), { from: 10, step: { y: 1, x: 15 } });
  choices.kept.picks.side = "all pairs";
  assert.equal(choices.place(array, ["rule", "side", "y"]).from, 0);
});

test("what is chosen is kept by name, and forgotten where the name is gone", () => {
  const kept = { picks: { rule: "clusters", side: "gone" } };
  const choices = new Choices(kept);
  choices.update(spec);
  assert.deepEqual([choices.pick("rule"), choices.pick("side"), choices.nameOf("rule")], [1, 1, "clusters"]);
  assert.equal(choices.compared, "rule");
  kept.compare = "nothing";
  choices.update(spec);
  assert.equal(choices.compared, "rule");
});

test("the reading names what is chosen but not what is compared", () => {
  const choices = new Choices({});
  choices.update(spec);
  assert.deepEqual(choices.words(), ["train"]);
  choices.update({ choices: spec.choices });
  assert.deepEqual(choices.words(), ["by cosine", "train"]);
  assert.deepEqual(choices.words(["side"]), ["train"]);
});

test("the menu offers what is compared and every other choice, and keeps what is picked", () => {
  const choices = new Choices({});
  choices.update(spec);
  let changes = 0;
  const menu = choices.menu(() => changes++);
  assert.deepEqual(
    menu.map((item) => item.options.map(({ label }) => label)),
    [
      ["Rules", "Sides"],
      ["all pairs", "train pairs"],
    ],
  );
  menu[1].choose(0);
  assert.equal(choices.nameOf("side"), "all pairs");
  menu[0].choose("side");
  assert.equal(choices.compared, "side");
  assert.equal(changes, 2);
});

test("axes have names for hovering and for ticks", () => {
  const parameters = {
    p: 7,
    heads: 4,
    d_mlp: 12,
    frequencies: 3,
    order: 7,
    network: "transformer",
    activation: "relu",
  };
  const component = axisOf("component", parameters);
  assert.deepEqual(
    Array.from({ length: component.count }, (_, i) => component.name(i)),
    ["constant", "cos 1", "sin 1", "cos 2", "sin 2", "cos 3", "sin 3"],
  );
  assert.equal(axisOf("frequency", parameters).name(0), "frequency 1");
  assert.equal(axisOf("head", parameters).count, 4);
  assert.equal(axisOf(["a", "b", "="], parameters).short(2), "=");
  assert.throws(() => axisOf("time", parameters), /time/);
});
