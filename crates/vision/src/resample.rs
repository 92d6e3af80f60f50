//! Resamples pictures: shrinking by area, bilinear growing, bilinear warping. Every value is rounded once, to the
//! nearest integer, and halves are rounded up. `models/convert/README.md` numbers these rules.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    clippy::many_single_char_names,
    reason = "pixel indices and 0-255 values, clamped before each cast; matrix entries"
)]

use std::ops::Range;

use super::geometry::{Point, Transform};
use super::picture::{CHANNELS, Picture};

/// Below this scale a bilinear warp would skip source pixels. Then the picture is first shrunk by area to twice the
/// scale.
const ALIASING_SCALE: f64 = 0.5;
/// The number of rows of 255 whose sum still fits `u16`.
const ROWS_IN_U16: usize = 257;

/// `source` at `width` x `height`: by area if it shrinks, bilinear if it grows.
#[must_use]
pub fn resize(source: &Picture, width: usize, height: usize) -> Picture {
    if (width, height) == (source.width(), source.height()) {
        source.clone()
    } else if width <= source.width() && height <= source.height() {
        shrink(source, width, height)
    } else {
        // If one axis shrinks, it shrinks first.
        let (narrow, low) = (width.min(source.width()), height.min(source.height()));
        if (narrow, low) == (source.width(), source.height()) {
            grow(source, width, height)
        } else {
            grow(&shrink(source, narrow, low), width, height)
        }
    }
}

/// `source` at a smaller size. Each pixel is the mean of the source area that it covers, including fractions of pixels.
#[must_use]
pub fn shrink(source: &Picture, width: usize, height: usize) -> Picture {
    let (width, height) = (width.max(1), height.max(1));
    let cell = (source.width() as f64 / width as f64, source.height() as f64 / height as f64);
    shrink_part(source, cell, 0..width, 0..height)
}

/// `source` at a larger size: bilinear between pixel centres. The border is repeated.
fn grow(source: &Picture, width: usize, height: usize) -> Picture {
    let mut target = Picture::black(width, height);
    let taps = |from: usize, to: usize| -> Vec<(usize, usize, f32)> {
        let step = from as f64 / to as f64;
        (0..to)
            .map(|i| {
                let at = ((i as f64 + 0.5) * step - 0.5).clamp(0.0, (from - 1) as f64);
                let first = at.floor() as usize;
                (first, (first + 1).min(from - 1), (at - at.floor()) as f32)
            })
            .collect()
    };
    let columns = taps(source.width(), target.width());
    let rows = taps(source.height(), target.height());
    let stride = target.width() * CHANNELS;
    for (out, (top, bottom, v)) in target.pixels_mut().chunks_exact_mut(stride).zip(rows) {
        let (top, bottom) = (source.row(top), source.row(bottom));
        for (pixel, &(left, right, u)) in out.chunks_exact_mut(CHANNELS).zip(&columns) {
            for (c, value) in pixel.iter_mut().enumerate() {
                let at = |row: &[u8], x: usize| f32::from(row[x * CHANNELS + c]);
                *value =
                    round(mix(mix(at(top, left), at(top, right), u), mix(at(bottom, left), at(bottom, right), u), v));
            }
        }
    }
    target
}

/// The `side` x `side` picture whose pixel `p` shows `source` at `to_target.inverse()(p)`. It is black outside the
/// source. If the map shrinks by more than two, area means are taken first, because aliasing would cost recognition
/// accuracy.
#[must_use]
pub fn warp(source: &Picture, to_target: &Transform, side: usize) -> Picture {
    let Some(back) = to_target.inverse() else { return Picture::black(side, side) };
    let scale = to_target.scale();
    if scale >= ALIASING_SCALE {
        return bilinear(source, (0, 0), &back, side);
    }
    let factor = 2.0 * scale;
    let shrunk = (shrunk_side(source.width(), factor), shrunk_side(source.height(), factor));
    let cell = 1.0 / factor;
    let back = shrunk_back(&back, factor);
    // Only the part that the target shows is made: of a large photo that is little.
    let part = visible(&back, side, shrunk);
    let Some((columns, rows)) = part else { return Picture::black(side, side) };
    let origin = (columns.start, rows.start);
    let small = shrink_part(source, (cell, cell), columns, rows);
    bilinear_within(&small, origin, shrunk, &back, side)
}

/// Pixels of a side once shrunk by `factor`.
fn shrunk_side(side: usize, factor: f64) -> usize {
    ((side as f64 * factor + 0.5).floor() as usize).max(1)
}

/// The map from target to shrunk pixels, from the map from target to source pixels. The centre of source pixel `s` lies
/// at `(s + 0.5) * factor - 0.5` in the shrunk picture.
fn shrunk_back(back: &Transform, factor: f64) -> Transform {
    Transform(back.0.map(|[a, b, c]| [a * factor, b * factor, (c + 0.5) * factor - 0.5]))
}

/// The columns and rows of a picture of size `shown` that a `side` x `side` target shows through `back`; `None` if
/// there are none.
fn visible(back: &Transform, side: usize, shown: (usize, usize)) -> Option<(Range<usize>, Range<usize>)> {
    let far = side as f64 - 1.0;
    let corners = [(0.0, 0.0), (far, 0.0), (0.0, far), (far, far)].map(|(x, y)| back.apply(Point::new(x, y)));
    let span = |values: [f64; 4], end: usize| {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min).floor().clamp(0.0, end as f64);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max).floor() + 2.0;
        let high = high.clamp(0.0, end as f64);
        low as usize..high as usize
    };
    let (columns, rows) = (span(corners.map(|p| p.x), shown.0), span(corners.map(|p| p.y), shown.1));
    (!columns.is_empty() && !rows.is_empty()).then_some((columns, rows))
}

/// The area means of the cells `columns` x `rows` of a grid over `source`. Each cell measures `cell` source pixels. If
/// the last cell of a row or column reaches beyond the source, it is the mean of the part inside.
fn shrink_part(source: &Picture, cell: (f64, f64), columns: Range<usize>, rows: Range<usize>) -> Picture {
    let mut target = Picture::black(columns.len(), rows.len());
    let across: Vec<Span> = columns.map(|i| Span::of(i, cell.0, source.width())).collect();
    let (Some(first), Some(last)) = (across.first(), across.last()) else { return target };
    let used = first.start * CHANNELS..(last.end() * CHANNELS);
    let offset = first.start;
    let mut down = Accumulator::new(used.len());
    let stride = across.len() * CHANNELS;
    for (out, y) in target.pixels_mut().chunks_exact_mut(stride).zip(rows) {
        let span = Span::of(y, cell.1, source.height());
        let sums = down.sum(source, &span, used.clone());
        for (pixel, x) in out.chunks_exact_mut(CHANNELS).zip(&across) {
            let mean = x.weigh(sums, offset);
            let area = x.length * span.length;
            for (value, sum) in pixel.iter_mut().zip(mean) {
                *value = round(sum / area as f32);
            }
        }
    }
    target
}

/// The source pixels under one cell along one axis: a fraction of the first, whole pixels, a fraction of the last.
struct Span {
    start: usize,
    /// Weight of the pixel at `start`.
    first: f32,
    /// The number of whole pixels after it.
    whole: usize,
    /// Weight of the pixel after those; zero if there is none.
    last: f32,
    length: f64,
}

impl Span {
    fn of(index: usize, cell: f64, size: usize) -> Self {
        // A cell edge this close to a pixel edge lies on it. The difference is the rounding of `index * cell`.
        const SNAP: f64 = 1e-6;
        let snap = |v: f64| if (v - v.round()).abs() < SNAP { v.round() } else { v };
        let from = snap(index as f64 * cell).min(size as f64 - 1.0);
        let to = snap((index + 1) as f64 * cell).min(size as f64).max(from + SNAP);
        let start = from.floor() as usize;
        let next = start + 1;
        if to <= next as f64 {
            return Self { start, first: (to - from) as f32, whole: 0, last: 0.0, length: to - from };
        }
        let end = to.floor() as usize;
        Self {
            start,
            first: (next as f64 - from) as f32,
            whole: end - next,
            last: (to - end as f64) as f32,
            length: to - from,
        }
    }

    /// Index after the last pixel of the span.
    fn end(&self) -> usize {
        self.start + 1 + self.whole + usize::from(self.last > 0.0)
    }

    /// The weighted sum of the span's pixels in a row that starts at pixel `offset`.
    fn weigh(&self, row: &[f32], offset: usize) -> [f32; CHANNELS] {
        let at = (self.start - offset) * CHANNELS;
        let (head, rest) = row[at..].split_at(CHANNELS);
        let (middle, tail) = rest.split_at(self.whole * CHANNELS);
        let mut sum = [0.0; CHANNELS];
        for c in 0..CHANNELS {
            sum[c] = head[c] * self.first;
        }
        for pixel in middle.chunks_exact(CHANNELS) {
            for c in 0..CHANNELS {
                sum[c] += pixel[c];
            }
        }
        if self.last > 0.0 {
            for c in 0..CHANNELS {
                sum[c] += tail[c] * self.last;
            }
        }
        sum
    }
}

/// Sums pixel rows. Whole rows are added as integers, eight at a time in a register, because this loop is the only one
/// that visits every pixel of a large photo.
struct Accumulator {
    whole: Vec<u16>,
    total: Vec<f32>,
}

impl Accumulator {
    fn new(length: usize) -> Self {
        Self { whole: vec![0; length], total: vec![0.0; length] }
    }

    /// The weighted sum of the rows under `span`, for the bytes `used` of each row.
    fn sum(&mut self, source: &Picture, span: &Span, used: Range<usize>) -> &[f32] {
        self.total.fill(0.0);
        self.add(&source.row(span.start)[used.clone()], span.first);
        let whole: Vec<usize> = (span.start + 1..span.start + 1 + span.whole).collect();
        for rows in whole.chunks(ROWS_IN_U16) {
            self.whole.fill(0);
            for &y in rows {
                for (sum, &value) in self.whole.iter_mut().zip(&source.row(y)[used.clone()]) {
                    *sum += u16::from(value);
                }
            }
            for (total, &sum) in self.total.iter_mut().zip(&self.whole) {
                *total += f32::from(sum);
            }
        }
        if span.last > 0.0 {
            self.add(&source.row(span.start + 1 + span.whole)[used], span.last);
        }
        &self.total
    }

    fn add(&mut self, row: &[u8], weight: f32) {
        for (total, &value) in self.total.iter_mut().zip(row) {
            *total += f32::from(value) * weight;
        }
    }
}

fn bilinear(source: &Picture, origin: (usize, usize), back: &Transform, side: usize) -> Picture {
    bilinear_within(source, origin, (source.width(), source.height()), back, side)
}

/// Samples a picture of size `whole` bilinearly. `part` holds its pixels from `origin` on. Pixels outside are black.
fn bilinear_within(
    part: &Picture,
    origin: (usize, usize),
    whole: (usize, usize),
    back: &Transform,
    side: usize,
) -> Picture {
    let mut target = Picture::black(side, side);
    let [[a, b, c], [d, e, f]] = back.0;
    let (width, height) = (whole.0 as f64, whole.1 as f64);
    let stride = part.width() * CHANNELS;
    let inner = (origin.0 as f64, origin.1 as f64, (part.width() - 1) as f64, (part.height() - 1) as f64);
    for (y, out) in target.pixels_mut().chunks_exact_mut(side * CHANNELS).enumerate() {
        let (row_x, row_y) = (b * y as f64 + c, e * y as f64 + f);
        for (x, pixel) in out.chunks_exact_mut(CHANNELS).enumerate() {
            let at = Point::new(a * x as f64 + row_x, d * x as f64 + row_y);
            // This is also false for NaN.
            let touches = at.x > -1.0 && at.y > -1.0 && at.x < width && at.y < height;
            if !touches {
                continue;
            }
            let (left, top) = (at.x.floor(), at.y.floor());
            let (u, v) = ((at.x - left) as f32, (at.y - top) as f32);
            let (in_x, in_y) = (left - inner.0, top - inner.1);
            if in_x >= 0.0 && in_y >= 0.0 && in_x < inner.2 && in_y < inner.3 {
                let first = in_y as usize * stride + in_x as usize * CHANNELS;
                let upper = &part.pixels()[first..first + 2 * CHANNELS];
                let lower = &part.pixels()[first + stride..first + stride + 2 * CHANNELS];
                for (k, value) in pixel.iter_mut().enumerate() {
                    let above = mix(f32::from(upper[k]), f32::from(upper[k + CHANNELS]), u);
                    let below = mix(f32::from(lower[k]), f32::from(lower[k + CHANNELS]), u);
                    *value = round(mix(above, below, v));
                }
            } else {
                for (k, value) in pixel.iter_mut().enumerate() {
                    let above = mix(sample(part, in_x, in_y, k), sample(part, in_x + 1.0, in_y, k), u);
                    let below = mix(sample(part, in_x, in_y + 1.0, k), sample(part, in_x + 1.0, in_y + 1.0, k), u);
                    *value = round(mix(above, below, v));
                }
            }
        }
    }
    target
}

/// The value at integer coordinates; 0 outside.
fn sample(source: &Picture, x: f64, y: f64, channel: usize) -> f32 {
    let inside = x >= 0.0 && y >= 0.0 && x < source.width() as f64 && y < source.height() as f64;
    if inside { f32::from(source.row(y as usize)[x as usize * CHANNELS + channel]) } else { 0.0 }
}

fn mix(from: f32, to: f32, share: f32) -> f32 {
    from + (to - from) * share
}

/// Rounds halves up. `as` clamps to 0-255.
fn round(value: f32) -> u8 {
    (value + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn picture(width: usize, height: usize, value: impl Fn(usize, usize, usize) -> u8) -> Picture {
        let mut picture = Picture::black(width, height);
        for (i, v) in picture.pixels_mut().iter_mut().enumerate() {
            *v = value(i / CHANNELS % width, i / CHANNELS / width, i % CHANNELS);
        }
        picture
    }

    fn noise(width: usize, height: usize) -> Picture {
        picture(width, height, |x, y, c| (((x * 7919 + y * 104_729 + c * 31) * 2_654_435_761) >> 13) as u8)
    }

    /// Computes the definition pixel by pixel: slow, but obviously right.
    fn shrink_by_definition(source: &Picture, width: usize, height: usize) -> Picture {
        let cover = |i: usize, cell: f64, j: usize| {
            ((i + 1) as f64 * cell).min(j as f64 + 1.0) - (i as f64 * cell).max(j as f64)
        };
        let (cx, cy) = (source.width() as f64 / width as f64, source.height() as f64 / height as f64);
        picture(width, height, |x, y, c| {
            let mut sum = 0.0;
            for j in 0..source.height() {
                for i in 0..source.width() {
                    let weight = cover(x, cx, i).max(0.0) * cover(y, cy, j).max(0.0);
                    sum += weight * f64::from(source.row(j)[i * CHANNELS + c]);
                }
            }
            (sum / (cx * cy) + 0.5) as u8
        })
    }

    fn largest_difference(a: &Picture, b: &Picture) -> u8 {
        a.pixels().iter().zip(b.pixels()).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
    }

    proptest! {
        #[test]
        fn shrinking_takes_the_exact_area_mean(
            (w, h, tw, th) in (1usize..40, 1usize..40).prop_flat_map(|(w, h)| (Just(w), Just(h), 1..=w, 1..=h)),
        ) {
            let source = noise(w, h);
            let fast = shrink(&source, tw, th);
            // They may differ by one level, because the sums are f32 and a mean may be a tie.
            prop_assert!(largest_difference(&fast, &shrink_by_definition(&source, tw, th)) <= 1);
        }

        #[test]
        fn a_flat_picture_stays_flat(w in 1usize..60, h in 1usize..60, tw in 1usize..60, th in 1usize..60, v: u8) {
            let source = picture(w, h, |_, _, c| v ^ (c as u8));
            let resized = resize(&source, tw, th);
            prop_assert_eq!(resized, picture(tw, th, |_, _, c| v ^ (c as u8)));
        }

        #[test]
        fn warping_never_panics(numbers in prop::array::uniform6(-1e6..1e6f64), w in 1usize..30, h in 1usize..30) {
            let [a, b, c, d, e, f] = numbers;
            let _ = warp(&noise(w, h), &Transform([[a / 1e6, b / 1e6, c], [d / 1e6, e / 1e6, f]]), 16);
        }
    }

    #[test]
    fn the_identity_warp_changes_nothing() {
        let source = noise(20, 20);
        assert_eq!(warp(&source, &Transform([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), 20), source);
    }

    #[test]
    fn a_warp_beyond_the_edge_is_black_there() {
        let source = picture(10, 10, |_, _, _| 200);
        let moved = warp(&source, &Transform([[1.0, 0.0, 5.0], [0.0, 1.0, 0.0]]), 10);
        assert_eq!(moved.row(3)[..5 * CHANNELS], [0; 15]);
        assert_eq!(moved.row(3)[5 * CHANNELS..], [200; 15]);
    }

    #[test]
    fn a_shrinking_warp_makes_the_same_pixels_whether_it_sees_all_of_the_source_or_a_part() {
        let source = noise(400, 300);
        let map = Transform::about(Point::new(250.0, 120.0), 0.3, 0.21, Point::new(16.0, 16.0));
        let whole = {
            let factor = 2.0 * map.scale();
            let (w, h) = (shrunk_side(400, factor), shrunk_side(300, factor));
            let small = shrink_part(&source, (1.0 / factor, 1.0 / factor), 0..w, 0..h);
            bilinear(&small, (0, 0), &shrunk_back(&map.inverse().unwrap(), factor), 32)
        };
        assert_eq!(warp(&source, &map, 32), whole);
    }

    #[test]
    fn growing_a_gradient_keeps_it_a_gradient() {
        let grown = grow(&picture(2, 1, |x, _, _| (x * 100) as u8), 4, 1);
        let red: Vec<u8> = grown.pixels().iter().step_by(CHANNELS).copied().collect();
        assert_eq!(red, [0, 25, 75, 100]);
    }
}
