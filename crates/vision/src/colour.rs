//! Converts pictures with an ICC profile to sRGB. Phones store Display P3; displayed as sRGB without conversion, faces
//! look grey.

use moxcms::{ColorProfile, DataColorSpace, Layout, TransformOptions};

use super::picture::Picture;

/// The picture in sRGB; `None` if the profile is not an RGB profile, or cannot be read.
#[must_use]
pub fn to_srgb(picture: &Picture, profile: &[u8]) -> Option<Picture> {
    let profile = ColorProfile::new_from_slice(profile).ok()?;
    if profile.color_space != DataColorSpace::Rgb {
        return None;
    }
    let srgb = ColorProfile::new_srgb();
    let transform = profile.create_transform_8bit(Layout::Rgb, &srgb, Layout::Rgb, TransformOptions::default()).ok()?;
    let mut shown = Picture::black(picture.width(), picture.height());
    transform.transform(picture.pixels(), shown.pixels_mut()).ok()?;
    Some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn grey_and_red() -> Picture {
        Picture::new(2, 1, vec![128, 128, 128, 200, 60, 60]).unwrap()
    }

    #[test]
    fn a_red_in_display_p3_is_a_stronger_red_in_srgb_and_grey_stays_grey() {
        let profile = ColorProfile::new_display_p3().encode().unwrap();
        let shown = to_srgb(&grey_and_red(), &profile).unwrap();
        let [grey, red] = [&shown.pixels()[..3], &shown.pixels()[3..]];
        assert!(grey.iter().all(|value| value.abs_diff(128) <= 1), "{grey:?}");
        assert!(red[0] > 210 && red[1] < 50, "{red:?}");
    }

    #[test]
    fn srgb_stays_unchanged() {
        let profile = ColorProfile::new_srgb().encode().unwrap();
        let shown = to_srgb(&grey_and_red(), &profile).unwrap();
        assert!(shown.pixels().iter().zip(grey_and_red().pixels()).all(|(a, b)| a.abs_diff(*b) <= 1));
    }

    #[test]
    fn a_grey_or_broken_profile_is_not_used() {
        let grey = ColorProfile::new_gray_with_gamma(2.2).encode().unwrap();
        assert!(to_srgb(&grey_and_red(), &grey).is_none());
        assert!(to_srgb(&grey_and_red(), b"not a profile").is_none());
    }

    proptest! {
        #[test]
        fn no_altered_profile_makes_it_panic(
            at in any::<prop::sample::Index>(), value in any::<u8>(), cut in any::<prop::sample::Index>(),
        ) {
            let mut profile = ColorProfile::new_display_p3().encode().unwrap();
            let at = at.index(profile.len());
            profile[at] = value;
            let _ = to_srgb(&grey_and_red(), &profile);
            profile.truncate(cut.index(profile.len()));
            let _ = to_srgb(&grey_and_red(), &profile);
        }
    }
}
