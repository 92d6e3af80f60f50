//! Turns a decoded picture upright, and says where its pixels lie in the upright picture.

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

use crate::geometry::Point;
use crate::picture::Picture;
use crate::view::View;

/// Whether the upright picture is as wide as the stored one is high.
pub fn lies_on_its_side(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
    )
}

/// The picture, turned upright; `None` for a picture without pixels.
pub fn upright(picture: RgbImage, orientation: Orientation) -> Option<Picture> {
    let mut picture = DynamicImage::from(picture);
    picture.apply_orientation(orientation);
    let picture = picture.into_rgb8();
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    Picture::new(width, height, picture.into_raw())
}

/// Where the upright pixels of `small` lie in the upright picture, which is stored at `width` x `height`.
pub fn view_of(small: Picture, divisor: u32, (width, height): (u32, u32), orientation: Orientation) -> View {
    let (width, height) = if lies_on_its_side(orientation) { (height, width) } else { (width, height) };
    // The last pixel of a stored row or column may cover fewer pixels of the file than the others. These are missing.
    // If the last pixel comes first once upright, all others begin earlier by that number.
    let missing = |side: u32| f64::from(side.div_ceil(divisor) * divisor - side);
    let origin = Point::new(
        if ends_on_the_left(orientation) { -missing(width) } else { 0.0 },
        if ends_at_the_top(orientation) { -missing(height) } else { 0.0 },
    );
    View::reduced(small, divisor as usize, origin, (width as usize, height as usize))
}

/// Whether the last pixels of stored rows or columns are on the left of the upright picture.
fn ends_on_the_left(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::FlipHorizontal | Orientation::Rotate180 | Orientation::Rotate90 | Orientation::Rotate270FlipH
    )
}

/// Whether the last pixels of stored rows or columns are at the top of the upright picture.
fn ends_at_the_top(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::FlipVertical | Orientation::Rotate180 | Orientation::Rotate270 | Orientation::Rotate270FlipH
    )
}
