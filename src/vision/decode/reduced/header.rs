//! What stands before the pixels of a JPEG.

use super::super::container::{SOS, START, Segment, next_segment};
use super::entropy::{COEFFICIENTS, Codes, MAX_BITS, ZIGZAG};

// ITU-T T.81, table B.1.
const SOF0: u8 = 0xC0;
const SOF1: u8 = 0xC1;
const DHT: u8 = 0xC4;
const SOF15: u8 = 0xCF;
const DQT: u8 = 0xDB;
const DRI: u8 = 0xDD;
const APP14: u8 = 0xEE;

/// Tables of one kind that a file may define.
const TABLES: usize = 4;
/// First and last coefficient of the scan, and no bits of them left for another: all of each block.
const WHOLE_BLOCKS: [u8; 3] = [0, 63, 0];
/// Where in an Adobe segment the colour transform stands, and its value for YCbCr.
const ADOBE_TRANSFORM: usize = 11;
const ADOBE_YCBCR: u8 = 1;

/// A picture whose only scan holds all its components, grey or YCbCr, in sequential blocks of eight-bit samples: what
/// cameras write.
pub struct Scan {
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
    pub components: Vec<Component>,
    /// Units of all components between two restart markers; zero without those.
    pub restart: usize,
    /// Where its bits begin.
    pub start: usize,
}

pub struct Component {
    /// Blocks across and down in a unit, 1 or 2 each.
    pub blocks: (usize, usize),
    /// By how much the file's coefficients are multiplied.
    pub quantisation: [f32; COEFFICIENTS],
    pub dc: Codes,
    pub ac: Codes,
}

impl Scan {
    /// `None` for another kind of JPEG, and for what is none.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut tables = Tables::default();
        let (mut frame, mut restart, mut at) = (None, 0, START);
        loop {
            let Segment { marker, body, end } = next_segment(bytes, at)?;
            at = end;
            match (marker, body) {
                (SOF0 | SOF1, _) if frame.is_none() => frame = Some(Frame::read(body)?),
                (DHT, _) => tables.add_codes(body)?,
                (DQT, _) => tables.add_quantisation(body)?,
                (DRI, &[high, low]) => restart = usize::from(u16::from_be_bytes([high, low])),
                (SOS, _) => {
                    let Frame { width, height, parts } = frame?;
                    return Some(Self {
                        width,
                        height,
                        components: tables.components(&parts, body)?,
                        restart,
                        start: end,
                    });
                }
                (APP14, [b'A', b'd', b'o', b'b', b'e', ..]) if body.get(ADOBE_TRANSFORM) != Some(&ADOBE_YCBCR) => {
                    return None;
                }
                // Another frame, of another coding, or what such need.
                (DRI | SOF0..=SOF15, _) => return None,
                _ => {}
            }
        }
    }

    /// Blocks across and down in a unit of the component that has most.
    pub fn most_blocks(&self) -> (usize, usize) {
        self.components.iter().fold((1, 1), |(h, v), it| (h.max(it.blocks.0), v.max(it.blocks.1)))
    }
}

/// The frame header.
struct Frame {
    width: usize,
    height: usize,
    parts: Vec<Part>,
}

/// What it says of a component.
struct Part {
    name: u8,
    blocks: (usize, usize),
    quantisation: u8,
}

impl Frame {
    fn read(body: &[u8]) -> Option<Self> {
        let [8, h1, h0, w1, w0, count @ (1 | 3), parts @ ..] = body else { return None };
        let side = |high: u8, low: u8| usize::from(u16::from_be_bytes([high, low]));
        let (parts, []) = parts.as_chunks::<3>() else { return None };
        if parts.len() != usize::from(*count) {
            return None;
        }
        let part = |&[name, blocks, quantisation]: &[u8; 3]| {
            let blocks = match (blocks >> 4, blocks & 15) {
                // The units of a single component are blocks, whatever the header says of them.
                _ if *count == 1 => (1, 1),
                (h @ (1 | 2), v @ (1 | 2)) => (usize::from(h), usize::from(v)),
                _ => return None,
            };
            Some(Part { name, blocks, quantisation })
        };
        let parts = parts.iter().map(part).collect::<Option<_>>()?;
        Some(Self { width: side(*w1, *w0), height: side(*h1, *h0), parts })
    }
}

/// The tables that were defined so far. Codes are kept as they are in the file, since making a table of them takes longer
/// than defining ten thousand.
#[derive(Default)]
struct Tables<'a> {
    dc: [Option<Definition<'a>>; TABLES],
    ac: [Option<Definition<'a>>; TABLES],
    quantisation: [Option<&'a [u8; COEFFICIENTS]>; TABLES],
}

/// How many codes there are of each length, and their symbols.
type Definition<'a> = (&'a [u8; MAX_BITS], &'a [u8]);

impl<'a> Tables<'a> {
    fn add_codes(&mut self, mut body: &'a [u8]) -> Option<()> {
        while let Some((name, rest)) = body.split_first() {
            let (counts, rest) = rest.split_first_chunk()?;
            let (symbols, rest) = rest.split_at_checked(counts.iter().map(|it| usize::from(*it)).sum())?;
            let tables = match name >> 4 {
                0 => &mut self.dc,
                1 => &mut self.ac,
                _ => return None,
            };
            *tables.get_mut(usize::from(name & 15))? = Some((counts, symbols));
            body = rest;
        }
        Some(())
    }

    fn add_quantisation(&mut self, mut body: &'a [u8]) -> Option<()> {
        while let Some((name, rest)) = body.split_first() {
            // Names of 16 and more have steps of two bytes.
            let (steps, rest) = rest.split_first_chunk()?;
            *self.quantisation.get_mut(usize::from(*name))? = Some(steps);
            body = rest;
        }
        Some(())
    }

    /// The components, with the tables that the scan header `body` names for them.
    fn components(&self, parts: &[Part], body: &[u8]) -> Option<Vec<Component>> {
        let (count, body) = body.split_first()?;
        let (named, rest) = body.as_chunks::<2>();
        let (named, blocks) = (named.get(..parts.len())?, &body[2 * parts.len()..]);
        if usize::from(*count) != parts.len() || blocks != WHOLE_BLOCKS || rest.len() != 1 {
            return None;
        }
        let codes = |tables: &[Option<Definition<'a>>; TABLES], name: u8| {
            let (counts, symbols) = (*tables.get(usize::from(name))?)?;
            Codes::new(counts, symbols)
        };
        let component = |(part, [name, tables]): (&Part, &[u8; 2])| {
            let steps = self.quantisation.get(usize::from(part.quantisation)).copied()??;
            let mut quantisation = [0.0; COEFFICIENTS];
            for (step, at) in steps.iter().zip(ZIGZAG) {
                quantisation[usize::from(at)] = f32::from(*step);
            }
            let (dc, ac) = (codes(&self.dc, tables >> 4)?, codes(&self.ac, tables & 15)?);
            (part.name == *name).then_some(Component { blocks: part.blocks, quantisation, dc, ac })
        };
        parts.iter().zip(named).map(component).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(marker: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len() + 2).unwrap().to_be_bytes();
        [&[0xFF, marker], length.as_slice(), body].concat()
    }

    /// The segments of a picture of 30 x 20 pixels with colours at half the resolution.
    fn segments() -> Vec<(u8, Vec<u8>)> {
        let codes = |name: u8| [&[name, 1], [0; 15].as_slice(), &[0]].concat();
        vec![
            (DQT, [&[0], [7; 64].as_slice(), &[1], &[9; 64]].concat()),
            (SOF0, vec![8, 0, 20, 0, 30, 3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1]),
            (DHT, [codes(0), codes(0x10)].concat()),
            (DRI, vec![0, 5]),
            (SOS, vec![3, 1, 0, 2, 0, 3, 0, 0, 63, 0]),
        ]
    }

    fn read(segments: &[(u8, Vec<u8>)]) -> Option<Scan> {
        let segments: Vec<_> = segments.iter().map(|(marker, body)| segment(*marker, body)).collect();
        Scan::read(&[&[0xFF, 0xD8], segments.concat().as_slice()].concat())
    }

    #[test]
    fn the_usual_picture_is_read() {
        let scan = read(&segments()).unwrap();
        assert_eq!((scan.width, scan.height, scan.restart), (30, 20, 5));
        let blocks: Vec<_> = scan.components.iter().map(|it| it.blocks).collect();
        assert_eq!((blocks, scan.most_blocks()), (vec![(2, 2), (1, 1), (1, 1)], (2, 2)));
        assert!(scan.components[2].quantisation.iter().all(|it| (*it - 9.0).abs() < 1e-9));
    }

    #[test]
    fn a_single_component_is_read_block_by_block() {
        let mut grey = segments();
        grey[1].1 = vec![8, 0, 20, 0, 30, 1, 1, 0x22, 0];
        grey[4].1 = vec![1, 1, 0, 0, 63, 0];
        assert_eq!(read(&grey).unwrap().components[0].blocks, (1, 1));
    }

    #[test]
    fn other_kinds_are_left_alone() {
        type Change = fn(&mut Vec<(u8, Vec<u8>)>);
        let changes: [(&str, Change); 16] = [
            ("progressive", |it| it[1].0 = 0xC2),
            ("arithmetic coding", |it| it[1].0 = 0xC9),
            ("12 bits", |it| it[1].1[0] = 12),
            ("two components", |it| it[1].1[5] = 2),
            ("a component too few", |it| it[1].1.truncate(12)),
            ("three blocks across", |it| it[1].1[7] = 0x31),
            ("no block", |it| it[1].1[7] = 0x01),
            ("an unknown quantisation", |it| it[1].1[8] = 3),
            ("quantisation of 16 bits", |it| it[0].1[0] = 0x10),
            ("unknown codes", |it| it[4].1[2] = 0x11),
            ("too many codes", |it| it[2].1[1] = 200),
            ("another order of components", |it| it[4].1[1] = 2),
            ("some components", |it| it[4].1 = vec![1, 1, 0, 0, 63, 0]),
            ("some coefficients", |it| it[4].1[8] = 5),
            ("two frames", |it| it.insert(2, it[1].clone())),
            ("Adobe's RGB", |it| it.insert(0, (APP14, b"Adobe\0\x64\0\0\0\0\0".to_vec()))),
        ];
        for (what, change) in changes {
            let mut other = segments();
            change(&mut other);
            assert!(read(&other).is_none(), "{what}");
        }
        let mut adobe = segments();
        adobe.insert(0, (APP14, b"Adobe\0\x64\0\0\0\0\x01".to_vec()));
        assert!(read(&adobe).is_some());
    }
}
