//! The plots of a report, as SVG.

use std::ops::Range;

use plotters::prelude::*;

use super::statistics::{Descending, DetPoint};

const SIZE: (u32, u32) = (720, 360);
/// Colours that people with any colour vision can distinguish (Okabe and Ito 2008).
const GENUINE: RGBColor = RGBColor(0, 114, 178);
const IMPOSTOR: RGBColor = RGBColor(213, 94, 0);
const BARS: usize = 80;

/// The distribution of the scores of both kinds of pairs. The bars of each kind add up to one. `marks` are thresholds
/// with their labels.
///
/// # Errors
/// When plotting fails.
pub fn histogram(genuine: &Descending, impostor: &Descending, marks: &[(f64, String)]) -> Result<String, String> {
    let all = || genuine.as_slice().iter().chain(impostor.as_slice()).map(|score| f64::from(*score));
    // Without scores the axis still needs two finite ends: plotting it would never end otherwise.
    let low = all().reduce(f64::min).unwrap_or(0.0);
    let high = all().fold(f64::NEG_INFINITY, f64::max).max(low + 1e-3);
    let (genuine, impostor) = (shares(genuine, low..high), shares(impostor, low..high));
    let top = genuine.iter().chain(&impostor).fold(0.0_f64, |a, b| a.max(*b)) * 1.1;
    draw(|area| {
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .x_label_area_size(34)
            .y_label_area_size(48)
            .build_cartesian_2d(low..high, 0.0..top.max(1e-9))?;
        chart.configure_mesh().light_line_style(TRANSPARENT).x_desc("raw score").y_desc("share of pairs").draw()?;
        for (shares, colour) in [(&impostor, IMPOSTOR), (&genuine, GENUINE)] {
            let points = steps(shares, low..high);
            chart.draw_series(AreaSeries::new(points, 0.0, colour.mix(0.35)).border_style(colour))?;
        }
        for (threshold, name) in marks {
            chart.draw_series(LineSeries::new([(*threshold, 0.0), (*threshold, top)], BLACK.mix(0.5)))?;
            let style = ("sans-serif", 11).into_font().color(&BLACK);
            chart.draw_series(std::iter::once(Text::new(name.clone(), (*threshold, top * 0.97), style)))?;
        }
        Ok(())
    })
}

/// The detection error trade-off on two logarithmic axes.
///
/// # Errors
/// When plotting fails.
pub fn det(curve: &[DetPoint]) -> Result<String, String> {
    let least = |rate: &dyn Fn(&DetPoint) -> f64| {
        curve.iter().map(rate).filter(|rate| *rate > 0.0).fold(1.0_f64, f64::min).clamp(1e-7, 0.5)
    };
    let (left, bottom) = (least(&|point| point.fmr), least(&|point| point.fnmr));
    draw(|area| {
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .x_label_area_size(34)
            .y_label_area_size(60)
            .build_cartesian_2d((left..1.0).log_scale(), (bottom..1.0).log_scale())?;
        let rate = |rate: &f64| format!("{rate:.0e}");
        let mut mesh = chart.configure_mesh();
        mesh.x_label_formatter(&rate).y_label_formatter(&rate);
        mesh.x_desc("false match rate").y_desc("false non-match rate").draw()?;
        let points = curve.iter().map(|point| (point.fmr.max(left), point.fnmr.max(bottom)));
        chart.draw_series(LineSeries::new(points, GENUINE.stroke_width(2)))?;
        Ok(())
    })
}

type PlotFault<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;
type DrawArea<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw(paint: impl for<'a> Fn(&DrawArea<'a>) -> Result<(), PlotFault<'a>>) -> Result<String, String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(|error| error.to_string())?;
        paint(&area).map_err(|error| error.to_string())?;
        area.present().map_err(|error| error.to_string())?;
    }
    Ok(svg)
}

/// The share of the scores in each of [`BARS`] equal intervals of `range`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "indices of bars, counts of pairs"
)]
fn shares(scores: &Descending, range: Range<f64>) -> Vec<f64> {
    let mut shares = vec![0.0; BARS];
    let one = 1.0 / scores.len().max(1) as f64;
    for score in scores.as_slice() {
        let along = (f64::from(*score) - range.start) / (range.end - range.start);
        shares[((along * BARS as f64) as usize).min(BARS - 1)] += one;
    }
    shares
}

/// The outline of the bars.
#[expect(clippy::cast_precision_loss, reason = "indices of bars")]
fn steps(shares: &[f64], range: Range<f64>) -> Vec<(f64, f64)> {
    let width = (range.end - range.start) / shares.len() as f64;
    let corner = |i: usize| range.start + width * i as f64;
    shares.iter().enumerate().flat_map(|(i, share)| [(corner(i), *share), (corner(i + 1), *share)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::scores::Scored;
    use crate::eval::statistics;

    fn descending(scores: &[f32]) -> Descending {
        Descending::new(
            &scores.iter().map(|score| Scored { score: *score, images: (0, 1), people: (0, 1) }).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn bars_of_a_kind_add_up_to_one() {
        let shares = shares(&descending(&[0.0, 0.5, 1.0]), 0.0..1.0);
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!(shares[0] > 0.3 && shares[BARS - 1] > 0.3 && shares[BARS / 2] > 0.3);
    }

    #[test]
    fn plots_are_made_even_from_almost_no_scores() {
        assert!(histogram(&descending(&[]), &descending(&[]), &[(0.5, "live".to_owned())]).is_ok());
        let (genuine, impostor) = (descending(&[0.9]), descending(&[0.1]));
        let marks = [(0.5, "1e-3".to_owned())];
        for svg in [
            histogram(&genuine, &impostor, &marks).unwrap(),
            histogram(&descending(&[0.9]), &descending(&[]), &[]).unwrap(),
            det(&statistics::det(&genuine, &impostor, 10)).unwrap(),
            det(&[]).unwrap(),
        ] {
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
        }
    }
}
