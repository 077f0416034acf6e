//! Charts of what was measured: a panel for each step, a line for each way, both axes
//! logarithmic.

use std::fmt::Write as _;

use super::outcome::{Step, Way};
use super::table::Row;

/// The charts, with the names of their files.
pub(super) fn all(rows: &[Row]) -> [(&'static str, String); 3] {
    [
        ("messages.svg", chart("Messages sent by all nodes", rows, |r| Some(r.messages as f64))),
        ("bytes.svg", chart("Bytes sent by all nodes", rows, |r| Some(r.bytes as f64))),
        ("waits.svg", chart("Milliseconds until 99 of 100 nodes know", rows, |r| r.waits_ms[1])),
    ]
}

fn chart(title: &str, rows: &[Row], value: impl Fn(&Row) -> Option<f64>) -> String {
    let points: Vec<Point> = rows
        .iter()
        .filter_map(|row| {
            let (nodes, value) = (row.nodes as f64, value(row)?);
            Some(Point { way: row.way, step: row.step, nodes, value })
        })
        .collect();
    let across = Axis::over(points.iter().map(|point| point.nodes));
    let up = Axis::over(points.iter().map(|point| point.value));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"16\">{title}, by the number of nodes</text>\n"
    );
    legend(&mut svg);
    for (number, step) in Step::ALL.into_iter().enumerate() {
        let panel = Panel {
            x: LEFT + (number % ACROSS) as f64 * (PANEL_WIDTH + GAP_ACROSS),
            y: TOP + (number / ACROSS) as f64 * (PANEL_HEIGHT + GAP_DOWN),
            across: &across,
            up: &up,
        };
        panel.frame(&mut svg, step.name());
        for way in Way::ALL {
            let line = points.iter().filter(|point| point.step == step && point.way == way);
            panel.line(&mut svg, way, &line.collect::<Vec<_>>());
        }
    }
    svg + "</svg>\n"
}

struct Point {
    way: Way,
    step: Step,
    nodes: f64,
    value: f64,
}

/// Powers of ten that take in all values; what is below one lies on the axis.
struct Axis {
    from: i32,
    to: i32,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>) -> Self {
        let logs: Vec<f64> = values.filter(|value| *value > 0.0).map(f64::log10).collect();
        let from = logs.iter().copied().fold(f64::INFINITY, f64::min);
        let to = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if logs.is_empty() {
            return Self { from: 0, to: 1 };
        }
        let from = from.floor() as i32;
        Self { from, to: (to.ceil() as i32).max(from + 1) }
    }

    /// Where a value lies, from 0 to 1.
    fn at(&self, value: f64) -> f64 {
        let place = (value.log10() - f64::from(self.from)) / f64::from(self.to - self.from);
        if value > 0.0 { place.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Powers of ten to be named: at most six.
    fn ticks(&self) -> impl Iterator<Item = i32> {
        let stride = (self.to - self.from + 4) / 5;
        (self.from..=self.to).step_by(stride.max(1) as usize)
    }
}

struct Panel<'a> {
    x: f64,
    y: f64,
    across: &'a Axis,
    up: &'a Axis,
}

impl Panel<'_> {
    fn place(&self, nodes: f64, value: f64) -> (f64, f64) {
        let x = self.x + self.across.at(nodes) * PANEL_WIDTH;
        (x, self.y + (1.0 - self.up.at(value)) * PANEL_HEIGHT)
    }

    fn frame(&self, svg: &mut String, title: &str) {
        let (x, y, bottom) = (self.x, self.y, self.y + PANEL_HEIGHT);
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"{}\" font-size=\"13\">{title}</text>", y - 6.0);
        for power in self.up.ticks() {
            let (_, at) = self.place(1.0, 10_f64.powi(power));
            let _ = writeln!(
                svg,
                "<path d=\"M{x:.1} {at:.1}h{PANEL_WIDTH}\" stroke=\"#ddd\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                x - 4.0,
                at + 4.0,
                power_of_ten(power)
            );
        }
        for power in self.across.ticks() {
            let (at, _) = self.place(10_f64.powi(power), 1.0);
            let _ = writeln!(
                svg,
                "<path d=\"M{at:.1} {y:.1}v{PANEL_HEIGHT}\" stroke=\"#ddd\"/>\
                 <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 14.0,
                power_of_ten(power)
            );
        }
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{PANEL_WIDTH}\" height=\"{PANEL_HEIGHT}\" \
             fill=\"none\" stroke=\"#888\"/>"
        );
    }

    fn line(&self, svg: &mut String, way: Way, points: &[&Point]) {
        let colour = colour(way);
        let places: Vec<(f64, f64)> =
            points.iter().map(|point| self.place(point.nodes, point.value)).collect();
        let text: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            text.join(" ")
        );
        for (point, (x, y)) in points.iter().zip(places) {
            let _ =
                writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
            if point.value == 0.0 {
                let y = y - 6.0;
                let _ = writeln!(
                    svg,
                    "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\" fill=\"{colour}\">0</text>"
                );
            }
        }
    }
}

fn legend(svg: &mut String) {
    for (number, way) in Way::ALL.into_iter().enumerate() {
        let x = WIDTH - 280.0 + 90.0 * number as f64;
        let _ = writeln!(
            svg,
            "<path d=\"M{x} 20h18\" stroke=\"{0}\" stroke-width=\"2\"/>\
             <text x=\"{1}\" y=\"24\">{2}</text>",
            colour(way),
            x + 22.0,
            way.name()
        );
    }
}

/// Told apart by those who see colours less well, too (Okabe and Ito).
fn colour(way: Way) -> &'static str {
    match way {
        Way::Bus => "#0072b2",
        Way::Periodic => "#d55e00",
        Way::Gossip => "#009e73",
    }
}

fn power_of_ten(power: i32) -> String {
    const UNITS: [&str; 5] = ["", "k", "M", "G", "T"];
    match UNITS.get((power.max(0) / 3) as usize) {
        Some(unit) if power >= 0 => format!("{}{unit}", 10_u32.pow((power % 3) as u32)),
        _ => format!("1e{power}"),
    }
}

const WIDTH: f64 = 940.0;
const HEIGHT: f64 = 560.0;
const LEFT: f64 = 50.0;
const TOP: f64 = 66.0;
/// Panels in a row.
const ACROSS: usize = 3;
const PANEL_WIDTH: f64 = 250.0;
const PANEL_HEIGHT: f64 = 195.0;
const GAP_ACROSS: f64 = 50.0;
const GAP_DOWN: f64 = 60.0;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scale::outcome::Outcome;

    #[test]
    fn a_chart_has_a_panel_for_each_step_and_a_mark_for_each_value() {
        let waits = vec![Duration::from_millis(5)];
        let outcome = Outcome { messages: 7, bytes: 70, waits, ..Outcome::default() };
        let sizes = [10, 1000];
        let rows = sizes.into_iter().flat_map(|nodes| {
            let outcome = &outcome;
            Step::ALL.map(move |step| Row::new(nodes, Way::Bus, step, outcome))
        });
        let rows: Vec<Row> = rows.collect();
        for (name, svg) in all(&rows) {
            assert_eq!(svg.matches("<circle").count(), rows.len(), "{name}");
            assert!(Step::ALL.iter().all(|step| svg.contains(step.name())), "{name}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{name}");
        }
    }

    #[test]
    fn axes_take_in_all_values_and_nothing_lies_outside() {
        let axis = Axis::over([0.0, 3.0, 40_000.0].into_iter());
        assert_eq!((axis.from, axis.to), (0, 5));
        assert_eq!([0.0, 1.0, 1e5, 1e9].map(|value| axis.at(value)), [0.0, 0.0, 1.0, 1.0]);
        assert_eq!(power_of_ten(4), "10k");
    }
}
