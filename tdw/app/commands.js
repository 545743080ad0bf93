// Commands to the server.

import { isOfProxy } from "../viewer/data_source.js";

/** @import { Answer } from "./types.js" */

const REFUSALS = [404, 409, 413, 422, 507]; // whose body is a sentence
const OFFLINE = { error: "server offline: restart with tdw" };

/** @param {string} command @param {object} body @returns {Promise<Answer>} */
export const post = async (command, body) => {
  let answer;
  try {
    answer = await fetch(`do/${command}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    return OFFLINE;
  }
  if (isOfProxy(answer)) return OFFLINE;
  if (answer.status === 401) return { error: "this browser has lost access: see below", of: "line" };
  if (answer.ok || REFUSALS.includes(answer.status)) return answer.json();
  return { error: `the server failed (status ${answer.status}): see its terminal` };
};
