//! The bytes of files, and uploads.

use super::tree::{Byte, Item, Result, Slot, Tree, Where};
use crate::types::change::Piece;
use crate::types::{ChunkId, NewChunk, RefusalKind as Kind};

impl Tree {
    fn bytes(&mut self, id: u64) -> &mut Vec<Byte> {
        match self.items.get_mut(&id).unwrap() {
            Item::File(bytes) => bytes,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn truncate(&mut self, at: &Where, size: u64) -> Result<u64> {
        let id = self.find(at, true)?;
        self.require_file(id)?;
        self.bytes(id).resize(size as usize, Byte::Zero);
        Ok(id)
    }

    /// Whether a file has a byte of a chunk, or of another of its stripe.
    fn has(&self, id: u64, chunk: ChunkId) -> bool {
        let Some(Item::File(bytes)) = self.items.get(&id) else {
            return false;
        };
        let alone = [chunk];
        let members = self.stripes.get(&chunk).map_or(&alone[..], Vec::as_slice);
        bytes
            .iter()
            .any(|byte| matches!(byte, Byte::Chunk(c, _) if members.contains(c)))
    }

    fn is_parity(&self, chunk: ChunkId) -> bool {
        let members = self.stripes.get(&chunk);
        members.is_some_and(|members| members.last() == Some(&chunk))
    }

    pub(super) fn write(
        &mut self,
        id: u64,
        offset: Option<u64>,
        pieces: &[Piece],
        new: &[NewChunk],
    ) -> Result<u64> {
        let policy = self.policy(id);
        let min = usize::from(policy.replicas_min.0);
        let held = |new: &NewChunk| match self.stripes.contains_key(&new.chunk) {
            // One may be lost.
            true => 2,
            false => new.replicas.len(),
        };
        if new.iter().any(|new| held(new) < min) {
            return Err(Kind::TooFewReplicas);
        }
        let size = self.bytes(id).len();
        let mut position = offset.map_or(size, |offset| offset as usize);
        let start = position;
        let mut bytes = self.bytes(id).clone();
        for piece in pieces {
            let end = position + piece.length() as usize;
            bytes.resize(bytes.len().max(end), Byte::Zero);
            for (index, byte) in bytes[position..end].iter_mut().enumerate() {
                *byte = match piece {
                    Piece::Inline(text) => Byte::Inline(text[index]),
                    Piece::Chunk { chunk, offset, .. } => {
                        Byte::Chunk(*chunk, offset + index as u64)
                    }
                };
            }
            if let Piece::Chunk { chunk, .. } = piece
                && !new.iter().any(|new| new.chunk == *chunk)
            {
                if !self.has(id, *chunk) {
                    return Err(Kind::NotFound);
                }
                if self.is_parity(*chunk) {
                    return Err(Kind::Invalid);
                }
            }
            position = end;
        }
        let inline = bytes
            .iter()
            .filter(|byte| matches!(byte, Byte::Inline(_)))
            .count();
        let adds = pieces.iter().any(|piece| matches!(piece, Piece::Inline(_)));
        if adds && inline > policy.inline_max as usize {
            return Err(Kind::TooLarge);
        }
        *self.bytes(id) = bytes;
        Ok(start as u64)
    }

    pub(super) fn write_file(
        &mut self,
        at: &Where,
        offset: Option<u64>,
        pieces: &[Piece],
        new: &[NewChunk],
    ) -> Result<u64> {
        let id = self.find(at, true)?;
        self.require_file(id)?;
        self.write(id, offset, pieces, new)?;
        Ok(id)
    }

    /// The slot for a new file, and what is replaced there.
    fn replaceable(&self, at: &Where, replace: bool) -> Result<Slot> {
        let slot = self.slot(at, Kind::IsADirectory)?;
        match slot.item {
            Some(id) if self.is_dir(id) => Err(Kind::IsADirectory),
            Some(_) if !replace => Err(Kind::Exists),
            _ => Ok(slot),
        }
    }

    pub(super) fn put(
        &mut self,
        at: &Where,
        replace: bool,
        pieces: &[Piece],
        new: &[NewChunk],
    ) -> Result<u64> {
        let slot = self.replaceable(at, replace)?;
        let id = self.insert(slot.dir, Item::File(Vec::new()));
        if let Err(kind) = self.write(id, Some(0), pieces, new) {
            self.items.remove(&id);
            self.next_inode -= 1;
            return Err(kind);
        }
        self.take_name(&slot, id);
        Ok(id)
    }

    fn take_name(&mut self, slot: &Slot, id: u64) {
        self.name(slot, id);
        if let Some(replaced) = slot.item {
            self.sweep(replaced);
        }
    }

    fn inline(bytes: &[Byte]) -> usize {
        let is_inline = |byte: &&Byte| matches!(byte, Byte::Inline(_));
        bytes.iter().filter(is_inline).count()
    }

    pub(super) fn clone_file(&mut self, from: &Where, to: &Where, replace: bool) -> Result<u64> {
        let source = self.find(from, true)?;
        self.require_file(source)?;
        if self.slot(to, Kind::IsADirectory)?.item == Some(source) {
            return Err(Kind::Invalid);
        }
        let slot = self.replaceable(to, replace)?;
        let (has, wants) = (self.policy(source), self.policy(slot.dir));
        if has.replicas != wants.replicas {
            return Err(Kind::Invalid);
        }
        let bytes = self.bytes(source).clone();
        if Tree::inline(&bytes) > wants.inline_max as usize {
            return Err(Kind::TooLarge);
        }
        let id = self.insert(slot.dir, Item::File(bytes));
        self.take_name(&slot, id);
        Ok(id)
    }

    pub(super) fn concat(&mut self, to: &Where, from: &[Where]) -> Result<u64> {
        let id = self.find(to, true)?;
        self.require_file(id)?;
        let policy = self.policy(id);
        let (mut slots, mut sources): (Vec<Slot>, Vec<u64>) = (Vec::new(), Vec::new());
        for at in from {
            let slot = self.slot(at, Kind::NotPermitted)?;
            let source = slot.item.ok_or(Kind::NotFound)?;
            self.require_file(source)?;
            let is_known = source == id || sources.contains(&source);
            let differs = self.policy(source).replicas != policy.replicas;
            if is_known || self.links(source) > 1 || differs {
                return Err(Kind::Invalid);
            }
            sources.push(source);
            slots.push(slot);
        }
        let mut bytes = self.bytes(id).clone();
        let before = Tree::inline(&bytes);
        for source in &sources {
            bytes.extend_from_slice(self.bytes(*source));
        }
        let inline = Tree::inline(&bytes);
        if inline > before && inline > policy.inline_max as usize {
            return Err(Kind::TooLarge);
        }
        *self.bytes(id) = bytes;
        for (slot, source) in slots.iter().zip(sources) {
            self.unname(slot);
            self.sweep(source);
        }
        Ok(id)
    }

    pub(super) fn begin_upload(&mut self, at: &Where) -> Result<u64> {
        let slot = self.replaceable(at, true)?;
        let id = self.insert(slot.dir, Item::File(Vec::new()));
        self.uploads.push(id);
        Ok(id)
    }

    pub(super) fn upload(&mut self, id: u64, pieces: &[Piece], new: &[NewChunk]) -> Result<u64> {
        self.require_upload(id)?;
        self.write(id, None, pieces, new)?;
        Ok(id)
    }

    fn require_upload(&self, id: u64) -> Result<()> {
        if self.uploads.contains(&id) {
            Ok(())
        } else {
            Err(Kind::NotFound)
        }
    }

    pub(super) fn publish(&mut self, id: u64, at: &Where, replace: bool) -> Result<u64> {
        self.require_upload(id)?;
        let slot = self.replaceable(at, replace)?;
        self.uploads.retain(|upload| *upload != id);
        self.take_name(&slot, id);
        Ok(id)
    }

    pub(super) fn abandon(&mut self, id: u64) -> Result<()> {
        self.require_upload(id)?;
        self.uploads.retain(|upload| *upload != id);
        self.sweep(id);
        Ok(())
    }
}
