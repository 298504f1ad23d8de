/**
 * The store: the only writer of files. Other rooms import from here alone.
 *
 * Contract
 * - Every file is written so: temporary file in the same directory (O_EXCL) > write > fsync > read back, compare, hash >
 *   rename > fsync of the directory. A product then gets its manifest entry, written in the same way. SIGKILL or a loss of
 *   power at any moment leaves under a final name nothing, the old file or the new one, each whole.
 * - Existence is never evidence. A step is done when the manifest of its product carries the step's key (`productKey`) and
 *   the file is the one that the manifest describes (`Store.isDone`). Replacing is by rename: the old product stays whole
 *   until then, but loses its entry just before, so that an entry never speaks of another file.
 *   Where nothing may be replaced (`replace: false`) a link takes the place of the rename: it fails where the name is taken.
 * - One manifest a product, beside it: `NAME.manifest.json`. Any number of processes may write products into one directory
 *   with no lock, because no two of them share a file; a product and its manifest can be copied or removed together by
 *   hand; a reader needs no replay. (A journal for a directory would need all three.) Two writers of the same name at once
 *   are safe: the last rename wins, and an entry that then lies beside the other's product counts only if the sha256 agrees.
 *   A manifest carries a hash of itself: a flipped bit in it is found like one in the product.
 * - Temporary files are named `.rampline-<process table>-<pid>-<random>.tmp`. The first write into a directory (and
 *   `openStore`) removes those whose process is dead on this host, boot and PID namespace, and those older than a day.
 * - Names are relative to the directory and only names: see `checkName`.
 * - A failed call gives a StorageError (exit code 31) with file, errno and what it means, after the temporary files were
 *   removed; the same call may be made again. An input that is not there is an InputError. Errors that the caller's own
 *   chunks throw pass through unchanged.
 * - What the check of a write finds: bytes that the page cache or the file system does not give back as they were handed
 *   over, short files, a caller that changes a chunk during the write. It reads through the page cache; the platter is the
 *   business of fsync, and of `verifyDirectory` later.
 * - Cost. Chunks in an array are hashed once, from what was read back, and each byte is compared with its source: one hash
 *   pass, and the hash is that of the file. Chunks of an iterator are gone by then, so they are hashed on the way out and
 *   once more from the file. `bench/store.mjs`, CPU ms per 100 MB, minimum of 7, ext4, a CPU with SHA instructions: plain
 *   write and fsync 28, sha256 alone 56, a product from an array 106, from an iterator 161. Give arrays. (A CRC-32 on both
 *   ways instead of the comparison would cost 40; comparing costs 6, the reading back 13.)
 */

export type { FileHash, HashMemory, ReadOnce } from './hash.js';
export { fileIdentity, hashFile, knownHash, readHashed } from './hash.js';
export type { HeldLock, LockHolder } from './lock.js';
export { awaitLock, Lock, listLocks, takeLock } from './lock.js';
export type { Companion, JsonValue, ManifestEntry, ProductRecord, Source } from './manifest.js';
export { canonicalJson, productKey } from './manifest.js';
export { checkName, MANIFEST_SUFFIX } from './names.js';
export type { Chunks, NewFile, ProductState } from './store.js';
export { openStore, productState, readManifest, Store } from './store.js';
export type { TreeEntry, VerifyResult, VerifyStatus } from './verify.js';
export { listTree, verifyDirectory, verifyProduct } from './verify.js';
