// Which values of a curve were recorded. A NaN that was recorded and an epoch at which nothing was differ in the bits of the NaN
// (docs/FORMAT.md). The rule of tdw/recorded.py.

const NAN_BITS = [1, 0x7ff80000]; // low word first, as in the file and on every machine with a browser

/** Whether the value at an index was recorded. @param {ArrayLike<number>} values @returns {(index: number) => boolean} */
export const recordedIn = (values) => {
  if (!(values instanceof Float64Array)) return (i) => !Number.isNaN(values[i]);
  const words = new Uint32Array(values.buffer, values.byteOffset, 2 * values.length);
  return (i) => !Number.isNaN(values[i]) || (words[2 * i] === NAN_BITS[0] && words[2 * i + 1] === NAN_BITS[1]);
};
