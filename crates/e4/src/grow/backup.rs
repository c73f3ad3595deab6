//! Copies of superblock and descriptors: written with the groups that are new, brought up to date in those that are old.

use e4_format::superblock::SUPERBLOCK_SIZE;
use e4_format::{GroupNo, Superblock};
use e4_journal::Handle;

use super::plan::{Plan, backups};
use crate::error::Result;
use crate::meta;
use crate::mount::Shared;

impl Shared {
    /// The superblock as a copy in a group says it: that of an image at rest.
    fn backup_superblock(&self, sb: &Superblock, group: GroupNo) -> [u8; SUPERBLOCK_SIZE] {
        let mut copy = sb.clone();
        copy.set_needs_recovery(false);
        copy.set_orphan_present(false);
        let number = u16::try_from(group.get()).unwrap_or(u16::MAX);
        copy.raw_mut().s_block_group_nr.set(number);
        copy.encode()
    }

    /// The descriptor table after the growth, from block `from` on.
    fn table(&self, old: &Superblock, plan: &Plan, from: u32) -> Result<Vec<Vec<u8>>> {
        let sb = &plan.sb;
        let mut blocks = Vec::new();
        for n in from..sb.gdt_blocks() {
            blocks.push(match old.gdt_block(n) {
                Some(at) => meta::read_plain(&self.meta, at)?.data().to_vec(),
                None => vec![0; sb.block_size().len()],
            });
        }
        for (number, desc) in (old.groups()..).zip(&plan.groups) {
            let group = GroupNo::new(number);
            let Some((n, offset)) = sb.desc_location(group) else {
                continue;
            };
            let block = n.checked_sub(from).and_then(|n| blocks.get_mut(n as usize));
            if let Some(place) = block.and_then(|b| b.get_mut(offset..offset + sb.desc_size())) {
                desc.encode(place, sb, group)
                    .map_err(|source| meta::format_error(&self.image, source))?;
            }
        }
        Ok(blocks)
    }

    /// Writes the copies that lie behind the present end, past the journal.
    pub(super) fn write_new_backups(&self, old: &Superblock, plan: &Plan) -> Result<()> {
        let sb = &plan.sb;
        let groups: Vec<GroupNo> = backups(sb, old.groups()).collect();
        if groups.is_empty() {
            return Ok(());
        }
        let table = self.table(old, plan, 0)?;
        for group in groups {
            let Some(first) = sb.group_first_block(group) else {
                continue;
            };
            let mut block = vec![0; sb.block_size().len()];
            let copy = self.backup_superblock(sb, group);
            if let Some(place) = block.get_mut(..copy.len()) {
                place.copy_from_slice(&copy);
            }
            self.write_block(first, &block)?;
            for (n, bytes) in (0..).zip(&table) {
                if let Some(at) = sb.gdt_block_in(group, n) {
                    self.write_block(at, bytes)?;
                }
            }
        }
        Ok(())
    }

    /// Brings the copies in old groups up to date, in one handle of [`backup_credits`].
    pub(super) fn update_backups(
        &self,
        handle: &mut Handle,
        old: &Superblock,
        new: &Superblock,
    ) -> Result<()> {
        for group in backups(old, 1) {
            for n in first_changed(old)..new.gdt_blocks() {
                self.update_backup_table(handle, new, (group, n))?;
            }
            self.update_backup_superblock(handle, new, group)?;
        }
        Ok(())
    }

    /// The same in as many handles as it takes.
    pub(super) fn update_backups_in_steps(&self, old: &Superblock, new: &Superblock) -> Result<()> {
        for group in backups(old, 1) {
            for n in first_changed(old)..new.gdt_blocks() {
                let mut handle = self.meta.start(1)?;
                self.update_backup_table(&mut handle, new, (group, n))?;
            }
            // Last: who reads it finds the table it speaks of.
            let mut handle = self.meta.start(1)?;
            self.update_backup_superblock(&mut handle, new, group)?;
        }
        Ok(())
    }

    fn update_backup_table(
        &self,
        handle: &mut Handle,
        sb: &Superblock,
        (group, n): (GroupNo, u32),
    ) -> Result<()> {
        let (Some(at), Some(primary)) = (sb.gdt_block_in(group, n), sb.gdt_block(n)) else {
            return Ok(());
        };
        let source = meta::read_plain(&self.meta, primary)?.data().to_vec();
        let block = handle.create(at)?;
        handle.modify(&block)?.copy_from_slice(&source);
        Ok(())
    }

    fn update_backup_superblock(
        &self,
        handle: &mut Handle,
        sb: &Superblock,
        group: GroupNo,
    ) -> Result<()> {
        let Some(at) = sb.group_first_block(group) else {
            return Ok(());
        };
        let copy = self.backup_superblock(&self.current_superblock()?, group);
        let block = handle.create(at)?;
        let mut bytes = handle.modify(&block)?;
        if let Some(place) = bytes.get_mut(..copy.len()) {
            place.copy_from_slice(&copy);
        }
        Ok(())
    }

    /// Brings the copies of the superblock up to date, each in a handle of its own.
    pub(crate) fn update_backup_superblocks(&self) -> Result<()> {
        let sb = Superblock::clone(&self.sb);
        backups(&sb, 1).try_for_each(|group| {
            let mut handle = self.meta.start(1)?;
            self.update_backup_superblock(&mut handle, &sb, group)
        })
    }
}

/// The first block of the descriptor table that a growth changes.
fn first_changed(old: &Superblock) -> u32 {
    (old.groups() - 1) / old.descs_per_block()
}

/// Credits of [`Shared::update_backups`].
pub(super) fn backup_credits(old: &Superblock, new: &Superblock) -> u32 {
    let groups = u32::try_from(backups(old, 1).count()).unwrap_or(u32::MAX);
    groups.saturating_mul(1 + new.gdt_blocks() - first_changed(old))
}
