//! A GUID partition table with one partition: both copies and the protective MBR.
//!
//! Decision: the identifiers are derived from the filesystem's UUID; the partition begins at 1 MiB, where every
//! partitioning tool puts it.

use crate::digest;
use crate::error::BuildError;
use e4_device::Device;

const SECTOR: u64 = 512;
/// Byte at which the partition begins.
pub const PARTITION_START: u64 = 1 << 20;
/// Entries of a table, 128 bytes each.
const ENTRIES: usize = 128;
const ENTRY: usize = 128;
const TABLE_SECTORS: u64 = (ENTRIES * ENTRY) as u64 / SECTOR;
/// Linux filesystem, 0fc63daf-8483-4772-8e79-3d69d8477de4 as stored.
const LINUX: [u8; 16] = [
    0xAF, 0x3D, 0xC6, 0x0F, 0x83, 0x84, 0x72, 0x47, 0x8E, 0x79, 0x3D, 0x69, 0xD8, 0x47, 0x7D, 0xE4,
];

/// A table around one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gpt {
    len: u64,
}

impl Gpt {
    /// Around a partition of `len` bytes.
    #[must_use]
    pub fn new(len: u64) -> Self {
        Self {
            len: len.next_multiple_of(SECTOR),
        }
    }

    /// Bytes of the whole disk.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        let end = PARTITION_START + self.len + (TABLE_SECTORS + 1) * SECTOR;
        end.next_multiple_of(1 << 20)
    }

    /// Writes MBR and both tables.
    ///
    /// # Errors
    /// The device's.
    pub fn write(&self, disk: &dyn Device, uuid: [u8; 16], name: &str) -> Result<(), BuildError> {
        let sectors = self.disk_bytes() / SECTOR;
        let id = |n: u8| digest::derive(&[n; 32], "e4-build gpt", &uuid);
        let mut table = vec![0; ENTRIES * ENTRY];
        let first = PARTITION_START / SECTOR;
        put(&mut table, 0, &LINUX);
        put(&mut table, 16, &id(1));
        put(&mut table, 32, &first.to_le_bytes());
        put(
            &mut table,
            40,
            &(first + self.len / SECTOR - 1).to_le_bytes(),
        );
        for (n, unit) in name.encode_utf16().take(36).enumerate() {
            put(&mut table, 56 + 2 * n, &unit.to_le_bytes());
        }
        let header = |own: u64, other: u64, table_at: u64| {
            let mut h = [0; SECTOR as usize];
            put(&mut h, 0, b"EFI PART");
            put(&mut h, 8, &0x0001_0000u32.to_le_bytes());
            put(&mut h, 12, &92u32.to_le_bytes());
            put(&mut h, 24, &own.to_le_bytes());
            put(&mut h, 32, &other.to_le_bytes());
            put(&mut h, 40, &(2 + TABLE_SECTORS).to_le_bytes());
            put(&mut h, 48, &(sectors - 2 - TABLE_SECTORS).to_le_bytes());
            put(&mut h, 56, &id(2));
            put(&mut h, 72, &table_at.to_le_bytes());
            put(&mut h, 80, &128u32.to_le_bytes());
            put(&mut h, 84, &128u32.to_le_bytes());
            put(&mut h, 88, &crc32fast::hash(&table).to_le_bytes());
            let sum = crc32fast::hash(h.get(..92).unwrap_or_default());
            put(&mut h, 16, &sum.to_le_bytes());
            h
        };
        let last = sectors - 1;
        let backup_table = last - TABLE_SECTORS;
        disk.write_at(0, &protective_mbr(sectors))?;
        disk.write_at(SECTOR, &header(1, last, 2))?;
        disk.write_at(2 * SECTOR, &table)?;
        disk.write_at(backup_table * SECTOR, &table)?;
        disk.write_at(last * SECTOR, &header(last, 1, backup_table))?;
        disk.flush()?;
        Ok(())
    }
}

/// Tells those who know no GPT that the disk is not empty.
fn protective_mbr(sectors: u64) -> [u8; SECTOR as usize] {
    let mut mbr = [0; SECTOR as usize];
    let len = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    put(&mut mbr, 446, &[0, 0, 2, 0, 0xEE, 0xFF, 0xFF, 0xFF]);
    put(&mut mbr, 454, &1u32.to_le_bytes());
    put(&mut mbr, 458, &len.to_le_bytes());
    put(&mut mbr, 510, &[0x55, 0xAA]);
    mbr
}

fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(to) = to.get_mut(at..at + bytes.len()) {
        to.copy_from_slice(bytes);
    }
}
