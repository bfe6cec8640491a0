//! The Merkle tree (RFC 9162 §2.1) and its tiles (<https://c2sp.org/tlog-tiles>), kept by appending. Holds only what the
//! next entry can change: one hash per level and the unfinished tiles.

use aws_lc_rs::digest::{Context, SHA256};
use tlog_tiles::{EMPTY_HASH, HASH_SIZE, Hash, Tile, node_hash};

/// Levels of the tree in one tile: a full tile has 256 hashes.
pub(crate) const TILE_HEIGHT: u8 = 8;
/// Hashes in a full tile.
pub(crate) const TILE_WIDTH: u64 = 1 << TILE_HEIGHT;

/// The hash of an entry: SHA-256 over a zero byte and the line without its line break (RFC 9162 §2.1.1).
pub(crate) fn leaf_hash(entry: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[0x00]);
    context.update(entry);
    let mut hash = Hash::default();
    for (slot, byte) in hash.0.iter_mut().zip(context.finish().as_ref()) {
        *slot = *byte;
    }
    hash
}

/// Some consecutive hashes of one level: 256 of them, or fewer in the last tile of a level.
#[derive(Debug, Clone)]
pub(crate) struct HashTile {
    pub(crate) level: u8,
    pub(crate) number: u64,
    pub(crate) hashes: Vec<u8>,
}

impl HashTile {
    fn width(&self) -> u32 {
        // INVARIANT: 1 to 256 hashes, see `Tree::push` and `Tree::partial_tiles`.
        u32::try_from(self.hashes.len() / HASH_SIZE).unwrap_or(u32::MAX)
    }

    pub(crate) fn is_full(&self) -> bool {
        u64::from(self.width()) == TILE_WIDTH
    }

    /// Its path below the log's folder: `tile/<level>/<number>[.p/<width>]`.
    pub(crate) fn path(&self) -> String {
        tile_path(self.level, self.number, self.width())
    }

    /// The path it has when it is full.
    pub(crate) fn full_path(&self) -> String {
        tile_path(self.level, self.number, 1 << TILE_HEIGHT)
    }
}

pub(crate) fn tile_path(level: u8, number: u64, width: u32) -> String {
    // The crate writes the height, which tlog-tiles leaves out as it is always 8.
    Tile::new(TILE_HEIGHT, level, number, width, false).path().replacen("tile/8/", "tile/", 1)
}

/// A tree that grows at its right edge.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    size: u64,
    /// The roots of the complete subtrees, largest first: one per 1 bit of `size`.
    peaks: Vec<Hash>,
    /// The unfinished tile of each tile level.
    unfinished: Vec<Vec<u8>>,
}

impl Tree {
    /// Number of entries.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf; hands out the tiles that it completes.
    pub(crate) fn push(&mut self, leaf: Hash, full: &mut Vec<HashTile>) {
        let (mut hash, mut level) = (leaf, 0u8);
        self.tile(hash, level, full);
        // Each trailing 1 bit of the size is a complete subtree that the new one completes to the next size.
        while self.size >> level & 1 == 1 {
            let Some(left) = self.peaks.pop() else { break };
            hash = node_hash(left, hash);
            level += 1;
            if level.is_multiple_of(TILE_HEIGHT) {
                self.tile(hash, level, full);
            }
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    fn tile(&mut self, hash: Hash, level: u8, full: &mut Vec<HashTile>) {
        let tile_level = level / TILE_HEIGHT;
        while self.unfinished.len() <= usize::from(tile_level) {
            self.unfinished.push(Vec::new());
        }
        let Some(hashes) = self.unfinished.get_mut(usize::from(tile_level)) else { return };
        hashes.extend_from_slice(&hash.0);
        if hashes.len() / HASH_SIZE == 1 << TILE_HEIGHT {
            let number = self.size >> level >> TILE_HEIGHT;
            full.push(HashTile { level: tile_level, number, hashes: std::mem::take(hashes) });
        }
    }

    /// The root.
    pub(crate) fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else { return EMPTY_HASH };
        peaks.fold(*last, |right, left| node_hash(*left, right))
    }

    /// The tiles that are not full, at this size.
    pub(crate) fn partial_tiles(&self) -> impl Iterator<Item = HashTile> {
        let levels = (0u8..).zip(&self.unfinished).filter(|(_, hashes)| !hashes.is_empty());
        levels.map(|(level, hashes)| HashTile {
            level,
            number: self.size >> (TILE_HEIGHT * level) >> TILE_HEIGHT,
            hashes: hashes.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tlog_tiles::{Error, HashReader, Tile, stored_hashes_for_record_hash, tree_hash};

    use super::*;

    /// All hashes of a tree, in the order of the reference implementation.
    #[derive(Default)]
    struct Stored(RefCell<Vec<Hash>>);

    impl HashReader for Stored {
        fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
            Ok(indexes.iter().map(|index| self.0.borrow()[usize::try_from(*index).unwrap()]).collect())
        }
    }

    #[test]
    fn roots_and_tiles_are_those_of_the_reference_implementation() {
        let (mut tree, stored, mut full) = (Tree::default(), Stored::default(), Vec::new());
        for n in 0..70_000u64 {
            let leaf = leaf_hash(&n.to_be_bytes());
            assert_eq!(leaf, tlog_tiles::record_hash(&n.to_be_bytes()));
            let hashes = stored_hashes_for_record_hash(n, leaf, &stored).unwrap();
            stored.0.borrow_mut().extend(hashes);
            tree.push(leaf, &mut full);
            if n % 997 == 0 || n < 600 {
                assert_eq!(tree.root(), tree_hash(n + 1, &stored).unwrap(), "size {}", n + 1);
            }
        }
        full.extend(tree.partial_tiles());
        let expected = Tile::new_tiles(8, 0, 70_000);
        assert_eq!(full.len(), expected.len());
        for tile in expected {
            let path = tile.path().replace("tile/8/", "tile/");
            let ours =
                full.iter().find(|ours| ours.path() == path).unwrap_or_else(|| panic!("{path} is missing"));
            assert_eq!(ours.hashes, tile.read_data(&stored).unwrap(), "{path}");
        }
        assert_eq!(tree.size(), 70_000);
    }

    #[test]
    fn the_empty_tree_has_the_hash_of_nothing() {
        assert_eq!(Tree::default().root(), EMPTY_HASH);
    }

    #[test]
    fn paths_are_those_of_tlog_tiles() {
        assert_eq!(tile_path(0, 1_234_067, 256), "tile/0/x001/x234/067");
        let tile = HashTile { level: 1, number: 5, hashes: vec![0; 32 * 7] };
        assert_eq!(tile.path(), "tile/1/005.p/7");
        assert_eq!(tile.full_path(), "tile/1/005");
        assert!(!tile.is_full());
    }
}
