// Commands to the server.

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
  if ([502, 503, 504].includes(answer.status)) return OFFLINE; // of a proxy that does not reach the server
  if (answer.status === 401) return { error: "this browser has lost access: see below", of: "line" };
  if (answer.ok || REFUSALS.includes(answer.status)) return answer.json();
  return { error: `the server failed (status ${answer.status}): see its terminal` };
};
