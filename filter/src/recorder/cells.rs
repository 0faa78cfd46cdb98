use serin_sketch::Bucket;

/// Cells: 8,192 x 8 B = 64 KiB a worker, allocated once.
const CELLS: usize = 8_192;
/// In use before the interval is sealed early: 75% keeps probes short (2.5 on average for a hit with linear
/// probing; Knuth, The Art of Computer Programming 3, 6.4). A request takes at most two.
const USED_MAX: usize = CELLS / 4 * 3;

/// Counts by (series, timing, bucket): an open-addressed table of fixed size.
pub(super) struct Cells {
    table: Box<[Cell]>,
    used: usize,
}

/// Empty when `count` is 0. `key` is the series in bits 16 and up, the timing in bit 15, the bucket (below
/// 2^12) in the rest.
#[derive(Clone, Copy, Default)]
struct Cell {
    key: u32,
    count: u32,
}

impl Cells {
    pub(super) fn new() -> Self {
        Cells { table: vec![Cell::default(); CELLS].into(), used: 0 }
    }

    /// Whether there may be no room for two more cells.
    pub(super) fn is_full(&self) -> bool {
        self.used + 2 > USED_MAX
    }

    /// Adds one. The count saturates: 2^32 requests in one interval of at most 10 s cannot happen.
    pub(super) fn add(&mut self, series: u16, timing: bool, bucket: Bucket) {
        let key = u32::from(series) << 16 | u32::from(timing) << 15 | bucket.index() as u32;
        // Fibonacci hashing (Knuth 6.4): the upper 13 bits of the product.
        let mut at = (key.wrapping_mul(0x9e37_79b9) >> 19) as usize;
        while let Some(cell) = self.table.get_mut(at % CELLS) {
            if cell.count == 0 {
                *cell = Cell { key, count: 1 };
                self.used += 1;
                return;
            }
            if cell.key == key {
                cell.count = cell.count.saturating_add(1);
                return;
            }
            at += 1;
        }
    }

    /// Hands out all counts, by series, timing and bucket in ascending order, and is empty then.
    pub(super) fn drain(&mut self, mut each: impl FnMut(u16, bool, Bucket, u32)) {
        let mut cells: Vec<Cell> = self.table.iter().copied().filter(|cell| cell.count > 0).collect();
        cells.sort_unstable_by_key(|cell| cell.key);
        for Cell { key, count } in cells {
            if let Some(bucket) = Bucket::from_index(key & 0x7fff) {
                each((key >> 16) as u16, key & 0x8000 != 0, bucket, count);
            }
        }
        self.table.fill(Cell::default());
        self.used = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hands_out_what_was_added_until_full_and_is_empty_then() {
        let mut cells = Cells::new();
        let mut added = 0;
        for i in 0.. {
            if cells.is_full() {
                break;
            }
            cells.add((i / 600) as u16, i % 2 == 0, Bucket::from_index(i % 2_960).unwrap());
            added += 1;
        }
        assert_eq!(added, 6_143);
        for _ in 0..2 {
            let (mut sum, mut before) = (0, None);
            cells.drain(|series, timing, bucket, count| {
                assert!(before < Some((series, timing, bucket)));
                before = Some((series, timing, bucket));
                sum += count;
            });
            assert_eq!(sum, added);
            added = 0;
        }
    }
}
