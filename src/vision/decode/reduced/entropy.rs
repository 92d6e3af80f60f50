//! The bits of a scan to quantised coefficients, by Huffman codes (ITU-T T.81, annexes C and F). Strict: whoever writes
//! other bits than these gets no guess.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "numbers of a few bits, cut out of a register; codes have at most 16, values 15"
)]

/// Coefficients of a block of 8 x 8, row by row, the lowest frequencies first in each row and column.
pub type Block = [i16; COEFFICIENTS];
pub const COEFFICIENTS: usize = 64;
/// Longest code.
pub const MAX_BITS: usize = 16;

/// Codes, with the bits of their values, of so many bits and fewer are looked up at once. With 9 decoding takes 11 % more
/// time, with 11 and 12 as much.
const FAST_BITS: u32 = 10;

/// Where the coefficient that is the n-th in the file stands in its block (T.81, figure A.6).
#[rustfmt::skip]
pub const ZIGZAG: [u8; COEFFICIENTS] = [
     0,  1,  8, 16,  9,  2,  3, 10, 17, 24, 32, 25, 18, 11,  4,  5,
    12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13,  6,  7, 14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
    58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// A Huffman table.
pub struct Codes {
    /// What the next bits begin with; of length zero where that is longer.
    fast: Box<[Step; 1 << FAST_BITS]>,
    /// By length of the code, from one on.
    lengths: [Length; MAX_BITS],
    symbols: Vec<u8>,
}

/// The codes of one length.
#[derive(Clone, Copy, Default)]
struct Length {
    /// The first number too large for them, of 16 bits, the code's on the left.
    end: u32,
    /// What a code lacks to be the index of its symbol.
    offset: i32,
}

/// A symbol and the value whose bits follow it.
#[derive(Clone, Copy, Default)]
struct Step {
    value: i16,
    /// Coefficients of zero before it; [`END`] when only those follow.
    run: u8,
    /// Bits of both.
    length: u8,
}

/// No run is as long.
const END: u8 = 64;

impl Codes {
    /// From how many codes of each length there are, and their symbols in order; `None` when these are no prefix code.
    pub fn new(counts: &[u8; MAX_BITS], symbols: &[u8]) -> Option<Self> {
        let mut lengths = [Length::default(); MAX_BITS];
        let (mut code, mut index) = (0_u32, 0_u32);
        for ((bits, length), &count) in (1..).zip(&mut lengths).zip(counts) {
            code <<= 1;
            let offset = index as i32 - code as i32;
            code += u32::from(count);
            index += u32::from(count);
            if code > 1 << bits {
                return None;
            }
            *length = Length { end: code << (MAX_BITS as u32 - bits), offset };
        }
        if symbols.len() != index as usize {
            return None;
        }
        let fast = Box::new([Step::default(); 1 << FAST_BITS]);
        let mut codes = Self { fast, lengths, symbols: symbols.to_vec() };
        for first in 0..1 << FAST_BITS {
            let step = codes.find((first as u64) << (u64::BITS - FAST_BITS));
            codes.fast[first] = step.filter(|it| u32::from(it.length) <= FAST_BITS).unwrap_or_default();
        }
        Some(codes)
    }

    /// What `bits` begins with, read from the left; `None` for no code.
    #[cold]
    fn find(&self, bits: u64) -> Option<Step> {
        let code = (bits >> 48) as u32;
        let at = self.lengths.iter().position(|it| code < it.end)?;
        let length = at as u32 + 1;
        let index = (code >> (MAX_BITS as u32 - length)) as i32 + self.lengths[at].offset;
        let symbol = *self.symbols.get(usize::try_from(index).ok()?)?;
        let (run, size) = match (symbol >> 4, symbol & 15) {
            (0, 0) => (END, 0),
            // Of other runs without a value sequential files know none.
            (1..15, 0) => return None,
            other => other,
        };
        Some(Step { value: signed(bits << length, u32::from(size)), run, length: length as u8 + size })
    }
}

/// The first `size` bits as a value (T.81, F.2.2.1): those that begin with 0 are negative.
fn signed(bits: u64, size: u32) -> i16 {
    let value = ((bits >> 32) >> (32 - size)) as i32;
    let half = (1 << size) >> 1;
    (if value < half { value - (1 << size) + 1 } else { value }) as i16
}

/// The bits from one restart marker to the next.
pub struct Bits<'a> {
    bytes: &'a [u8],
    /// The next byte to read.
    at: usize,
    /// The next bits, from the left.
    held: u64,
    /// How many those are.
    count: u32,
    /// How many bits were made up because a marker, or nothing, follows.
    made_up: u32,
}

impl<'a> Bits<'a> {
    /// Those from byte `at` on.
    pub fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, held: 0, count: 0, made_up: 0 }
    }

    /// Reads one block; `None` when it is none. `dc` is the first coefficient of the component's block before this one.
    #[inline]
    pub fn block(&mut self, dc_codes: &Codes, ac_codes: &Codes, dc: &mut i16) -> Option<Block> {
        let mut block = [0; COEFFICIENTS];
        let first = self.step(dc_codes)?;
        if first.run != 0 && first.run != END {
            return None;
        }
        *dc = dc.checked_add(first.value)?;
        block[0] = *dc;
        let mut at = 1;
        while at < COEFFICIENTS {
            let step = self.step(ac_codes)?;
            at += usize::from(step.run);
            if at >= COEFFICIENTS {
                return (step.run == END).then_some(block);
            }
            block[usize::from(ZIGZAG[at])] = step.value;
            at += 1;
        }
        Some(block)
    }

    /// Whether more was read than there is.
    pub fn overdrawn(&self) -> bool {
        self.count < self.made_up
    }

    /// The marker that follows, and the bits after it; `None` when other bits come first, or more was read than there is.
    pub fn restart(self) -> Option<(u8, Self)> {
        let left = self.count.checked_sub(self.made_up)?;
        match self.bytes.get(self.at..)? {
            // Bits that fill up the last byte are left.
            [0xFF, marker, ..] if left < 8 => Some((*marker, Self::new(self.bytes, self.at + 2))),
            _ => None,
        }
    }

    #[inline]
    fn step(&mut self, codes: &Codes) -> Option<Step> {
        self.fill();
        let mut step = codes.fast[(self.held >> (u64::BITS - FAST_BITS)) as usize];
        if step.length == 0 {
            step = codes.find(self.held)?;
        }
        self.held <<= step.length;
        self.count -= u32::from(step.length);
        Some(step)
    }

    /// Holds 32 bits or more, one more than a code and its value may have.
    #[inline]
    fn fill(&mut self) {
        if self.count >= 32 {
            return;
        }
        if let Some(&[a, b, c, d]) = self.bytes.get(self.at..self.at + 4) {
            let word = u32::from_be_bytes([a, b, c, d]);
            // No byte is 0xFF: no byte of the complement is zero.
            if (!word).wrapping_sub(0x0101_0101) & word & 0x8080_8080 == 0 {
                self.held |= u64::from(word) << (32 - self.count);
                self.at += 4;
                self.count += 32;
                return;
            }
        }
        self.fill_bytewise();
    }

    /// As [`fill`](Self::fill), where a byte is 0xFF: then the next one is a stuffed zero, or both are a marker.
    #[cold]
    fn fill_bytewise(&mut self) {
        while self.count <= u64::BITS - 8 {
            let byte = match self.bytes.get(self.at..).unwrap_or_default() {
                [0xFF, 0, ..] => {
                    self.at += 2;
                    0xFF
                }
                [] | [0xFF, ..] => {
                    self.made_up += 8;
                    0
                }
                [byte, ..] => {
                    self.at += 1;
                    *byte
                }
            };
            self.held |= u64::from(byte) << (u64::BITS - 8 - self.count);
            self.count += 8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One code of each length from 1 to 15: ones, and a zero behind them.
    fn staircase(symbols: [u8; 15]) -> Codes {
        let mut counts = [1; MAX_BITS];
        counts[15] = 0;
        Codes::new(&counts, &symbols).unwrap()
    }

    /// The bits of `text`, the last byte filled up with ones.
    fn bytes(text: &str) -> Vec<u8> {
        let bits: Vec<_> = text.bytes().filter(|it| *it != b' ').collect();
        let byte = |bits: &[u8]| (0..8).fold(0, |byte, i| byte << 1 | u8::from(bits.get(i) != Some(&b'0')));
        bits.chunks(8).map(byte).collect()
    }

    const DC: [u8; 15] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14];
    /// The end; one bit at once; two bits after one zero; sixteen zeros; then one bit at once again.
    const AC: [u8; 15] = [0x00, 0x01, 0x12, 0xF0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0x05];

    fn block(text: &str, dc: &mut i16) -> Option<Block> {
        let bytes = bytes(text);
        let mut bits = Bits::new(&bytes, 0);
        bits.block(&staircase(DC), &staircase(AC), dc).filter(|_| !bits.overdrawn())
    }

    #[test]
    fn coefficients_stand_where_the_zigzag_says_and_the_first_is_a_difference() {
        let mut dc = 100;
        // -1; then 1, a zero and -3, sixteen zeros, 1, the end.
        let block = block("10 0  10 1  110 00  1110  10 1  0", &mut dc).unwrap();
        assert_eq!((dc, block[0]), (99, 99));
        let mut expected = [0; COEFFICIENTS];
        (expected[0], expected[1], expected[16], expected[usize::from(ZIGZAG[20])]) = (99, 1, -3, 1);
        assert_eq!(block, expected);
    }

    #[test]
    fn a_code_longer_than_what_is_looked_up_at_once_is_found() {
        let block = block("0  111111111111110 10110  0", &mut 0).unwrap();
        assert_eq!(block[1], 22);
    }

    #[test]
    fn a_block_may_be_full_but_not_overfull() {
        let mut all = "0".to_owned() + &"1110".repeat(3) + &"10 1".repeat(14);
        assert!(block(&(all.clone() + "10 1"), &mut 0).is_some());
        all += "110 11";
        assert!(block(&all, &mut 0).is_none());
        assert!(block(&("0".to_owned() + &"1110".repeat(4)), &mut 0).is_none());
    }

    #[test]
    fn data_that_no_code_begins_or_that_end_early_make_no_block() {
        assert!(block("0  1111111111111111", &mut 0).is_none());
        assert!(block("0  10 1", &mut 0).is_none());
    }

    #[test]
    fn a_run_without_a_value_makes_no_block_unless_it_is_sixteen_zeros() {
        let mut counts = [0; MAX_BITS];
        counts[1] = 2;
        let bytes = bytes("0 00 01");
        for (symbol, whole) in [(0xF0, true), (0xE0, false), (0x10, false)] {
            let ac = Codes::new(&counts, &[symbol, 0]).unwrap();
            let block = Bits::new(&bytes, 0).block(&staircase(DC), &ac, &mut 0);
            assert_eq!(block.is_some(), whole, "{symbol:#x}");
        }
    }

    #[test]
    fn a_mean_beyond_all_bounds_makes_no_block() {
        assert!(block("11111111111110 1111111111111  0", &mut 32_000).is_none());
    }

    #[test]
    fn a_stuffed_zero_is_left_out_and_a_marker_ends_the_data() {
        let end = staircase([0; 15]);
        // 10, then 14 ones and a zero, filled up with ones; behind the marker 0 and 0, and no second block.
        let file = [0b1011_1111, 0xFF, 0, 0b0111_1111, 0xFF, 0xD3, 0b0011_1111];
        let mut bits = Bits::new(&file, 0);
        assert!(bits.block(&end, &end, &mut 0).is_some() && !bits.overdrawn());
        let (marker, mut bits) = bits.restart().unwrap();
        assert_eq!(marker, 0xD3);
        assert!(bits.block(&end, &end, &mut 0).is_some() && !bits.overdrawn());
        assert!(bits.block(&end, &end, &mut 0).is_some() && bits.overdrawn());
        assert!(bits.restart().is_none());
    }

    #[test]
    fn a_restart_before_the_end_of_the_data_is_none() {
        let end = staircase([0; 15]);
        let mut bits = Bits::new(&[0b0011_1111, 0, 0xFF, 0xD0], 0);
        assert!(bits.block(&end, &end, &mut 0).is_some());
        assert!(bits.restart().is_none());
    }

    #[test]
    fn counts_and_symbols_that_make_no_prefix_code_are_none() {
        let mut counts = [0; MAX_BITS];
        assert!(Codes::new(&counts, &[]).is_some());
        assert!(Codes::new(&counts, &[1]).is_none());
        counts[0] = 3;
        assert!(Codes::new(&counts, &[1, 2, 3]).is_none());
        counts = [0; MAX_BITS];
        (counts[0], counts[1]) = (1, 3);
        assert!(Codes::new(&counts, &[1, 2, 3, 4]).is_none());
    }

    proptest! {
        #[test]
        fn any_table_and_any_bytes_are_read_without_a_panic(
            counts in prop::array::uniform16(0..20_u8), symbols in prop::collection::vec(any::<u8>(), 0..100), data: Vec<u8>,
        ) {
            let total = counts.iter().map(|it| usize::from(*it)).sum::<usize>().min(symbols.len());
            if let Some(codes) = Codes::new(&counts, &symbols[..total]) {
                let mut bits = Bits::new(&data, 0);
                let mut dc = 0;
                for _ in 0..20 {
                    let _ = bits.block(&codes, &codes, &mut dc);
                }
                let _ = bits.restart();
            }
        }
    }
}
