//! Charts as inline SVG. Colours come from the page's style, so that they follow light and dark; values
//! under the pointer are shown by style alone, without a script.

use maud::{Markup, html};

use super::curves::{Curve, Series};
use crate::numbers;

const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 236.0;
const LEFT: f64 = 50.0;
const RIGHT: f64 = WIDTH - 10.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = HEIGHT - 26.0;
/// Vertical strips that react to the pointer.
const STRIPS: usize = 60;
/// Columns of a long curve or histogram: more than fit the eye would only make the page heavy.
const COLUMNS: usize = 160;
/// Curves shorter than this are drawn as they are.
const SMOOTH_FROM: usize = 60;

/// One bar of a [`BarChart`] chart.
pub(crate) struct Bar {
    /// Height.
    pub(crate) value: f64,
    /// Height of a pale bar behind it; 0 for none.
    pub(crate) behind: f64,
    /// Shown under the pointer.
    pub(crate) text: String,
}

/// A bar chart.
pub(crate) struct BarChart {
    /// What it shows, for those who cannot see it.
    pub(crate) title: String,
    /// The bars, left to right.
    pub(crate) bars: Vec<Bar>,
    /// Heights grow with the logarithm of 1 + value.
    pub(crate) log: bool,
    /// A dashed line at this height.
    pub(crate) reference: Option<f64>,
    /// Labels below, at fractions of the width.
    pub(crate) labels: Vec<(f64, String)>,
}

/// Maps values to pixels along one axis.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    map: fn(f64) -> f64,
}

impl Axis {
    fn at(&self, value: f64) -> f64 {
        let (low, high) = ((self.map)(self.low), (self.map)(self.high));
        let share = ((self.map)(value) - low) / (high - low);
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }
}

/// A line chart: smoothed lines over pale raw ones, with a legend that gives the last values.
pub(crate) fn lines(curve: &Curve) -> Markup {
    let shown: Vec<Series> = curve
        .series
        .iter()
        .map(|series| {
            let drawable = |(_, y): &(f64, f64)| !curve.log || *y > 0.0;
            Series::new(
                &*series.name,
                series.points().iter().copied().filter(drawable),
            )
        })
        .collect();
    let smooth: Vec<Vec<(f64, f64)>> = shown.iter().map(|series| smooth(series.points())).collect();
    let Some((x, y)) = axes(&shown, &smooth, curve.log) else {
        return html! { p.quiet { (curve.title) ": no values." } };
    };
    let y_ticks = if curve.log {
        decades(y.low, y.high)
    } else {
        ticks(y.low, y.high, 4)
    };
    html! {
        figure.chart {
            figcaption {
                strong { (curve.title) @if !curve.unit.is_empty() { span.quiet { " " (curve.unit) } } }
                span.legend {
                    @for (i, (series, smooth)) in shown.iter().zip(&smooth).enumerate() {
                        span class={ "key " (colour(i)) } {
                            (series.name) " "
                            @if let Some((_, last)) = smooth.last() { b { (number(*last)) } }
                        }
                    }
                }
            }
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(curve.title) {
                (frame(&y, &y_ticks))
                @for tick in ticks(x.low, x.high, 5) {
                    text.tick x=(px(x.at(tick))) y=(px(BOTTOM + 17.0)) text-anchor=(anchor(x.at(tick))) {
                        (thousands(tick))
                    }
                }
                @for (i, (series, smooth)) in shown.iter().zip(&smooth).enumerate() {
                    g class=(colour(i)) {
                        @if noisy(series.points()) {
                            path.raw d=(path(&envelope(series.points()), &x, &y)) {}
                        }
                        path.line d=(path(&thin(smooth), &x, &y)) {}
                        @if smooth.len() <= 24 {
                            @for (step, value) in smooth {
                                circle.dot cx=(px(x.at(*step))) cy=(px(y.at(*value))) r="2.6" {}
                            }
                        }
                    }
                }
                (strips(&shown, &smooth, &x))
            }
        }
    }
}

/// A bar chart.
pub(crate) fn bars(chart: &BarChart) -> Markup {
    let top = chart
        .bars
        .iter()
        .map(|bar| bar.value.max(bar.behind))
        .fold(0.0, f64::max);
    let top = top
        .max(chart.reference.unwrap_or(0.0))
        .max(f64::MIN_POSITIVE);
    let map = if chart.log { f64::ln_1p } else { |v| v };
    let y = Axis {
        low: 0.0,
        high: top * 1.04,
        from: BOTTOM,
        to: TOP,
        map,
    };
    let y_ticks = if chart.log {
        std::iter::once(0.0).chain(decades(1.0, y.high)).collect()
    } else {
        ticks(0.0, top, 4)
    };
    let step = (RIGHT - LEFT) / chart.bars.len().max(1) as f64;
    let gap = if step > 5.0 {
        (step * 0.22).min(6.0)
    } else {
        0.0
    };
    let column = |class: &str, left: f64, value: f64| {
        let top = y.at(value);
        html! {
            rect class=(class) x=(px(left + gap / 2.0)) y=(px(top)) width=(px(step - gap)) height=(px(BOTTOM - top)) {}
        }
    };
    html! {
        svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(chart.title) {
            (frame(&y, &y_ticks))
            @for (at, label) in &chart.labels {
                @let x = LEFT + at * (RIGHT - LEFT);
                text.tick x=(px(x)) y=(px(BOTTOM + 17.0)) text-anchor=(anchor(x)) { (label) }
            }
            @for (i, bar) in chart.bars.iter().enumerate() {
                @let left = LEFT + i as f64 * step;
                @if bar.behind > 0.0 { (column("bar behind", left, bar.behind)) }
                @if bar.value > 0.0 { (column("bar", left, bar.value)) }
            }
            @if let Some(reference) = chart.reference {
                line.reference x1=(LEFT) x2=(RIGHT) y1=(px(y.at(reference))) y2=(px(y.at(reference))) {}
            }
            @for (i, bar) in chart.bars.iter().enumerate() {
                (strip(LEFT + i as f64 * step, step, &bar.text))
            }
        }
    }
}

/// Grid lines with their values.
fn frame(y: &Axis, ticks: &[f64]) -> Markup {
    let decimals = ticks
        .windows(2)
        .map(|pair| decimals(pair[1] - pair[0]))
        .max();
    html! {
        @for &tick in ticks {
            line.grid x1=(LEFT) x2=(RIGHT) y1=(px(y.at(tick))) y2=(px(y.at(tick))) {}
            text.tick x=(px(LEFT - 7.0)) y=(px(y.at(tick) + 3.5)) text-anchor="end" {
                @if tick == 0.0 { "0" }
                @else if tick.abs() < 1e-3 || tick.abs() >= 1e6 { (short_exponent(tick)) }
                @else if decimals.is_none_or(|d| d == 0) || tick >= 1000.0 { (thousands(tick)) }
                @else { (format!("{tick:.*}", decimals.unwrap_or_default().min(4))) }
            }
        }
        line.axis x1=(LEFT) x2=(RIGHT) y1=(BOTTOM) y2=(BOTTOM) {}
    }
}

/// Strips over a line chart, each giving the step and every series' value there.
fn strips(series: &[Series], smooth: &[Vec<(f64, f64)>], x: &Axis) -> Markup {
    let width = (RIGHT - LEFT) / STRIPS as f64;
    let text = |strip: usize| {
        let step = x.low + (strip as f64 + 0.5) / STRIPS as f64 * (x.high - x.low);
        let nearest = |points: &[(f64, f64)]| {
            let at = points.partition_point(|(x, _)| *x < step);
            let around = at.saturating_sub(1)..(at + 1).min(points.len());
            around
                .map(|i| points[i])
                .min_by(|a, b| (a.0 - step).abs().total_cmp(&(b.0 - step).abs()))
        };
        let found = series
            .iter()
            .zip(smooth)
            .filter_map(|(s, points)| Some((s, nearest(points)?)));
        let values: Vec<_> = found
            .map(|(s, (_, y))| format!("{} {}", s.name, number(y)))
            .collect();
        format!("step {}: {}", thousands(step.round()), values.join(", "))
    };
    html! {
        @for i in 0..STRIPS { (strip(LEFT + i as f64 * width, width, &text(i))) }
    }
}

/// An area that shows `text` at the head of the chart while the pointer is on it.
fn strip(left: f64, width: f64, text: &str) -> Markup {
    html! {
        g.strip {
            rect x=(px(left)) y=(TOP) width=(px(width)) height=(BOTTOM - TOP) {}
            text x=(RIGHT) y="13" text-anchor="end" { (text) }
        }
    }
}

/// The axes around all points; the raw extremes of a noisy curve may leave the frame. `None` without points.
fn axes(series: &[Series], smooth: &[Vec<(f64, f64)>], log: bool) -> Option<(Axis, Axis)> {
    let steps = series.iter().flat_map(Series::points).map(|(x, _)| *x);
    let (left, right) = range(steps)?;
    let mut raw: Vec<f64> = series
        .iter()
        .flat_map(Series::points)
        .map(|(_, y)| *y)
        .collect();
    raw.sort_by(f64::total_cmp);
    let cut = raw.len() / 100;
    let usual = raw[cut..raw.len() - cut].iter().copied();
    let (low, high) = range(smooth.iter().flatten().map(|(_, y)| *y).chain(usual))?;
    let (low, high) = if log {
        // At least a tick or two: an axis within one decade is widened.
        (low / 1.2, (high * 1.2).max(low * 2.0))
    } else {
        let margin = ((high - low) * 0.04).max(high.abs() * 1e-6).max(1e-12);
        // A quantity that is never negative, and comes near 0, is shown from 0.
        let near_zero = low >= 0.0 && low < 0.4 * high;
        (if near_zero { 0.0 } else { low - margin }, high + margin)
    };
    let map = if log { f64::log10 } else { |v| v };
    let right = if right > left { right } else { left + 1.0 };
    let x = Axis {
        low: left,
        high: right,
        from: LEFT,
        to: RIGHT,
        map: |v| v,
    };
    Some((
        x,
        Axis {
            low,
            high,
            from: BOTTOM,
            to: TOP,
            map,
        },
    ))
}

fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range, v| match range {
        None => Some((v, v)),
        Some((low, high)) => Some((v.min(low), v.max(high))),
    })
}

/// Centred moving mean over a twentieth of the points; at both ends over what there is. A curve without
/// noise, such as a schedule, stays as it is.
fn smooth(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if !noisy(points) {
        return points.to_vec();
    }
    let reach = points.len() / 40;
    let mean = |i: usize| {
        let window = &points[i.saturating_sub(reach)..(i + reach + 1).min(points.len())];
        window.iter().map(|(_, y)| y).sum::<f64>() / window.len() as f64
    };
    points
        .iter()
        .enumerate()
        .map(|(i, (x, _))| (*x, mean(i)))
        .collect()
}

/// Many points, and one in ten or more turns from rising to falling or back.
fn noisy(points: &[(f64, f64)]) -> bool {
    let turns = points
        .windows(3)
        .filter(|w| (w[1].1 - w[0].1) * (w[2].1 - w[1].1) < 0.0)
        .count();
    points.len() >= SMOOTH_FROM && turns * 10 >= points.len()
}

/// At most [`COLUMNS`] or so points, the last among them.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let every = points.len().div_ceil(COLUMNS).max(1);
    let mut thin: Vec<_> = points.iter().copied().step_by(every).collect();
    if points.len() % every != 1 {
        thin.extend(points.last());
    }
    thin
}

/// The lowest and the highest of each of [`COLUMNS`] columns, so that thinning keeps the spread.
fn envelope(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let column = |column: &[(f64, f64)]| {
        let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let low = column.iter().min_by(by_value).copied();
        let high = column.iter().max_by(by_value).copied();
        let mut both: Vec<_> = low.into_iter().chain(high).collect();
        both.sort_by(|a, b| a.0.total_cmp(&b.0));
        both
    };
    let every = points.len().div_ceil(COLUMNS);
    if every < 3 {
        points.to_vec()
    } else {
        points.chunks(every).flat_map(column).collect()
    }
}

fn path(points: &[(f64, f64)], x: &Axis, y: &Axis) -> String {
    let point = |(i, (step, value)): (usize, &(f64, f64))| {
        let command = if i == 0 { 'M' } else { 'L' };
        format!("{command}{} {}", px(x.at(*step)), px(y.at(*value)))
    };
    points.iter().enumerate().map(point).collect()
}

/// About `count` round values within `low..=high`.
fn ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let rough = (high - low) / count as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|m| m * power)
        .into_iter()
        .find(|step| *step >= rough);
    let step = step.unwrap_or(rough);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// Powers of ten within `low..=high`; if there are fewer than two, also twice and five times these.
fn decades(low: f64, high: f64) -> Vec<f64> {
    let within = |values: &[f64]| -> Vec<f64> {
        let exponents = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
        let all = exponents.flat_map(|e| values.iter().map(move |v| v * 10_f64.powi(e)));
        all.filter(|v| (low..=high).contains(v)).collect()
    };
    let tens = within(&[1.0]);
    if tens.len() < 2 {
        within(&[1.0, 2.0, 5.0])
    } else {
        tens
    }
}

/// Digits after the point that tell values `step` apart.
fn decimals(step: f64) -> usize {
    (0.0 - (step.abs().log10() + 1e-9).floor()).max(0.0) as usize
}

fn anchor(x: f64) -> &'static str {
    if x > RIGHT - 14.0 { "end" } else { "middle" }
}

/// A pixel coordinate: a tenth is fine enough.
fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), String::from)
}

/// Class of the `i`-th series.
fn colour(i: usize) -> String {
    format!("c{}", i % 6)
}

/// A value with about three digits.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        a if !(1e-3..1e6).contains(&a) => short_exponent(value),
        a if a < 1.0 => format!("{value:.3}"),
        a if a < 10.0 => format!("{value:.2}"),
        a if a < 1000.0 => format!("{value:.1}"),
        _ => thousands(value.round()),
    }
}

/// `1.5e-4`, and `2e-4` rather than `2.0e-4`.
fn short_exponent(value: f64) -> String {
    format!("{value:.1e}").replace(".0e", "e")
}

/// `12,000`: a whole number in groups of three digits; others with two decimals.
fn thousands(value: f64) -> String {
    if value.fract() != 0.0 {
        return format!("{value:.2}");
    }
    let sign = if value < 0.0 { "−" } else { "" };
    format!("{sign}{}", numbers::thousands(value.abs() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks(0.0, 10.0, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(-3.0, 47.0, 4), [0.0, 20.0, 40.0]);
        assert_eq!(decades(0.5, 200.0), [1.0, 10.0, 100.0]);
        assert_eq!(decades(2.0, 8.0), [2.0, 5.0]);
    }

    #[test]
    fn numbers_are_short() {
        let all = [0.0, 2e-4, 0.1234, 2.345, 45.67, 12_345.6].map(number);
        assert_eq!(all, ["0", "2e-4", "0.123", "2.35", "45.7", "12,346"]);
        assert_eq!(thousands(-1_234_567.0), "−1,234,567");
        assert_eq!(decimals(0.25), 1);
        assert_eq!(decimals(20.0), 0);
    }

    #[test]
    fn thinning_keeps_the_ends_and_the_spread() {
        let points: Vec<_> = (0..10_000)
            .map(|i| (f64::from(i), if i == 5000 { 9.0 } else { 1.0 }))
            .collect();
        let line = thin(&points);
        assert!(line.len() <= COLUMNS + 1);
        assert_eq!((line.first(), line.last()), (points.first(), points.last()));
        assert!(envelope(&points).contains(&(5000.0, 9.0)));
    }

    #[test]
    fn smooths_noise_alone() {
        let schedule: Vec<_> = (0..200)
            .map(|i| (f64::from(i), f64::from(i).sqrt()))
            .collect();
        assert_eq!(smooth(&schedule), schedule);
        let zigzag: Vec<_> = (0..200).map(|i| (f64::from(i), f64::from(i % 2))).collect();
        let mean = smooth(&zigzag);
        // Windows of 6 points at the ends, of 11 elsewhere.
        assert_eq!((mean[0].1, mean[199].1), (0.5, 0.5));
        assert!((mean[100].1 - 6.0 / 11.0).abs() < 1e-12);
    }

    #[test]
    fn draws_any_curve() {
        let point = |points: &[(f64, f64)]| Series::new("a", points.iter().copied());
        for points in [
            &[][..],
            &[(3.0, 0.0)],
            &[(0.0, 5.0), (0.0, 5.0)],
            &[(0.0, -1.0), (9.0, 1e30)],
        ] {
            for log in [false, true] {
                let curve = Curve {
                    log,
                    ..Curve::new("t").series(point(points))
                };
                let svg = lines(&curve).into_string();
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            }
        }
        let none = BarChart {
            title: String::new(),
            bars: vec![],
            log: false,
            reference: None,
            labels: vec![],
        };
        assert!(!bars(&none).into_string().contains("NaN"));
    }
}
