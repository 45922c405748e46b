/** WebCrypto as a Deno before 2.9 has it. */
const { importKey } = SubtleCrypto.prototype;
Object.defineProperty(SubtleCrypto.prototype, "importKey", {
  value(this: SubtleCrypto, ...given: Parameters<typeof importKey>) {
    const isRefused = given.includes("Argon2id");
    if (isRefused) return Promise.reject(new DOMException("Unrecognized", "NotSupportedError"));
    return importKey.apply(this, given);
  },
});
export {};
