//! That an entry stands in the log: what a third party needs to check it with a signed checkpoint and the public key alone
//! (RFC 9162 §2.1.3).

use std::{cell::RefCell, collections::HashMap, path::Path};

use serde::{Deserialize, Serialize};
use tlog_tiles::{
    Error, HASH_SIZE, Hash, HashReader, check_record, node_hash, prove_record, split_stored_hash_index,
};

use crate::{
    tiles,
    tree::{HashTile, TILE_HEIGHT, TILE_WIDTH, leaf_hash, tile_path},
};

/// No tree has more levels, so no proof has more hashes.
const HASHES_MAX: usize = 64;

/// An entry of a log, with the proof that it is the one at its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvenEntry {
    /// Its index in the whole log, from 0.
    pub index: u64,
    /// The line as it stands in the log, byte for byte, without its line break.
    pub entry: String,
    /// The hashes beside its way to the root, from the bottom, in base64.
    pub proof: Vec<String>,
}

impl ProvenEntry {
    /// Whether it is the entry at its place in the tree of that size and root.
    pub(crate) fn is_under(&self, size: u64, root: Hash) -> bool {
        if self.index >= size || self.proof.len() > HASHES_MAX {
            return false;
        }
        let hashes: Result<Vec<Hash>, Error> = self.proof.iter().map(|hash| Hash::parse_hash(hash)).collect();
        hashes.is_ok_and(|proof| {
            check_record(&proof, size, root, self.index, leaf_hash(self.entry.as_bytes())).is_ok()
        })
    }
}

/// The hashes of a tree of one size: full tiles from the folder, where they never change, the unfinished ones as they
/// were when the tree had this size.
pub(crate) struct Hashes<'a> {
    folder: &'a Path,
    size: u64,
    root: Hash,
    edge: HashMap<(u8, u64), Levels>,
    /// Of each tile level the full tile that was read last: entries are proven in their order.
    last: RefCell<HashMap<u8, (u64, Levels)>>,
}

/// A tile with what it implies: the hashes of its own level, of the one above, and so on.
struct Levels(Vec<Vec<Hash>>);

impl Levels {
    fn of(hashes: &[u8]) -> Self {
        let mut level: Vec<Hash> = hashes
            .chunks_exact(HASH_SIZE)
            .map(|bytes| {
                let mut hash = Hash::default();
                hash.0.copy_from_slice(bytes);
                hash
            })
            .collect();
        let mut levels = Vec::with_capacity(usize::from(TILE_HEIGHT));
        for _ in 0..TILE_HEIGHT {
            let above =
                level.as_chunks::<2>().0.iter().map(|[left, right]| node_hash(*left, *right)).collect();
            levels.push(std::mem::replace(&mut level, above));
        }
        Self(levels)
    }

    fn get(&self, height: u8, at: u64) -> Option<Hash> {
        self.0.get(usize::from(height))?.get(usize::try_from(at).ok()?).copied()
    }
}

impl<'a> Hashes<'a> {
    pub(crate) fn new(folder: &'a Path, size: u64, root: Hash, edge: &[HashTile]) -> Self {
        let edge = edge.iter().map(|tile| ((tile.level, tile.number), Levels::of(&tile.hashes))).collect();
        Self { folder, size, root, edge, last: RefCell::default() }
    }

    /// The entry with its proof; none if the tiles on disk are not those of the tree.
    pub(crate) fn prove(&self, index: u64, entry: &str) -> Option<ProvenEntry> {
        let proof = prove_record(self.size, index, self).ok()?;
        let proof = proof.iter().map(ToString::to_string).collect();
        // A tile that somebody changed must not become a proof that others reject later.
        Some(ProvenEntry { index, entry: entry.to_owned(), proof })
            .filter(|proven| proven.is_under(self.size, self.root))
    }

    fn read(&self, index: u64) -> Option<Hash> {
        let (level, number) = split_stored_hash_index(index);
        let (tile_level, height) = (level / TILE_HEIGHT, level % TILE_HEIGHT);
        let width = TILE_WIDTH >> height;
        let (tile, at) = (number / width, number % width);
        if let Some(edge) = self.edge.get(&(tile_level, tile)) {
            return edge.get(height, at);
        }
        let mut last = self.last.borrow_mut();
        if last.get(&tile_level).is_none_or(|(known, _)| *known != tile) {
            let full = u32::try_from(TILE_WIDTH).unwrap_or(u32::MAX);
            let hashes = tiles::read(self.folder, &tile_path(tile_level, tile, full)).ok().flatten()?;
            last.insert(tile_level, (tile, Levels::of(&hashes)));
        }
        last.get(&tile_level)?.1.get(height, at)
    }
}

impl HashReader for Hashes<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        let hashes: Option<Vec<Hash>> = indexes.iter().map(|index| self.read(*index)).collect();
        hashes.ok_or(Error::IndexesNotInTree)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    /// The tree of so many entries, with its full tiles in a folder.
    fn grown(folder: &Path, size: u64) -> Tree {
        let (mut tree, mut full) = (Tree::default(), Vec::new());
        (0..size).for_each(|n| tree.push(leaf_hash(n.to_string().as_bytes()), &mut full));
        full.iter().for_each(|tile| tiles::store(folder, tile).unwrap());
        tree
    }

    #[test]
    fn every_entry_is_proven_whatever_the_size_of_the_tree() {
        for size in [1, 2, 3, 255, 256, 257, 700, 66_000] {
            let folder = tempfile::tempdir().unwrap();
            let tree = grown(folder.path(), size);
            let edge: Vec<_> = tree.partial_tiles().collect();
            let hashes = Hashes::new(folder.path(), size, tree.root(), &edge);
            for index in (0..size).step_by(if size > 1000 { 997 } else { 1 }).chain([size - 1]) {
                let proven = hashes.prove(index, &index.to_string()).unwrap();
                assert!(proven.is_under(size, tree.root()), "{index} of {size}");
            }
        }
    }

    #[test]
    fn an_entry_is_not_proven_at_another_place_in_another_tree_or_with_another_text() {
        let folder = tempfile::tempdir().unwrap();
        let tree = grown(folder.path(), 300);
        let edge: Vec<_> = tree.partial_tiles().collect();
        let hashes = Hashes::new(folder.path(), 300, tree.root(), &edge);
        let proven = hashes.prove(7, "7").unwrap();
        assert!(proven.is_under(300, tree.root()));
        assert!(!proven.is_under(600, tree.root()));
        assert!(!proven.is_under(7, tree.root()));
        assert!(!ProvenEntry { index: 6, ..proven.clone() }.is_under(300, tree.root()));
        assert!(!ProvenEntry { entry: "8".to_owned(), ..proven.clone() }.is_under(300, tree.root()));
        let short = ProvenEntry { proof: proven.proof[1..].to_vec(), ..proven.clone() };
        assert!(!short.is_under(300, tree.root()));
        let garbage = ProvenEntry { proof: vec!["?".to_owned(); 9], ..proven.clone() };
        assert!(!garbage.is_under(300, tree.root()));
        let endless = ProvenEntry { proof: vec![proven.proof[0].clone(); 1000], ..proven };
        assert!(!endless.is_under(u64::MAX, tree.root()));
        assert_eq!(hashes.prove(7, "8"), None);
    }

    #[test]
    fn a_tile_that_was_changed_proves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let tree = grown(folder.path(), 300);
        let path = folder.path().join(tile_path(0, 0, 256));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[6 * 32] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let edge: Vec<_> = tree.partial_tiles().collect();
        let hashes = Hashes::new(folder.path(), 300, tree.root(), &edge);
        assert_eq!(hashes.prove(7, "7"), None);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(Hashes::new(folder.path(), 300, tree.root(), &edge).prove(7, "7"), None);
    }
}
