/** File systems of several machines, on which SQLite's locks and shared memory cannot be relied on. */
import { statfsSync } from 'node:fs';

/**
 * By the magic number that statfs(2) gives. From linux/magic.h, but for those that the kernel's tree does not have, whose
 * numbers are those of stat.c in GNU coreutils. Local ones (ext4, xfs, btrfs, zfs, overlay, tmpfs) are not named here.
 */
const SHARED: ReadonlyMap<number, string> = new Map([
  [0x6969, 'NFS'],
  [0x517b, 'SMB'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB2'],
  [0x564c, 'NCP'],
  [0x00c36400, 'Ceph'],
  [0x5346414f, 'AFS'],
  [0x6b414653, 'AFS'],
  [0x73757245, 'Coda'],
  [0x01021997, '9p'],
  [0x7461636f, 'OCFS2'],
  [0x786f4256, 'a VirtualBox shared folder'],
  // FUSE may be local as well (ntfs-3g), and often is sshfs, S3 or a cluster's client: nothing in statfs tells.
  [0x65735546, 'FUSE (sshfs and others)'],
  [0x0bd00bd0, 'Lustre'],
  [0x47504653, 'GPFS'],
  [0x19830326, 'BeeGFS'],
  [0xaad7aaea, 'PanFS'],
  [0x01161970, 'GFS2'],
  [0xbeefdead, 'StorNext'],
  [0xbacbacbc, 'a VMware shared folder'],
]);

/** statfs(2): the type alone. For tests another may be given. */
export type FileSystemType = (path: string) => { readonly type: number };

/**
 * The name of the shared file system that a directory is on; undefined for a local one, and for one that is not known.
 * @throws the system's error when there is no such directory
 */
export function sharedFileSystem(directory: string, statfs: FileSystemType = statfsSync): string | undefined {
  // The field is signed on some machines, and CIFS sets its highest bit.
  return SHARED.get(statfs(directory).type >>> 0);
}
