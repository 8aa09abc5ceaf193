//! The plots, as SVG: a line for each transport that a reader might choose, in the same colour everywhere. The
//! tables have the others too.

use std::error::Error;
use std::io;
use std::path::Path;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::prelude::*;

use super::{Results, Section};
use crate::args::{Size, Transport, Wait};
use crate::measure::{Figures, duration, quantity};

/// A plot of one section.
struct Plot {
    section: &'static str,
    file: &'static str,
    title: &'static str,
    x: Axis,
    y: Axis,
}

struct Axis {
    title: &'static str,
    value: fn(&Figures) -> f64,
    label: fn(&f64) -> String,
}

const BYTES: Axis = Axis {
    title: "bytes in a message",
    value: |line| line.size as f64,
    label: |&bytes| Size(bytes as usize).to_string(),
};

const PLOTS: [Plot; 5] = [
    Plot {
        section: "latency",
        file: "latency.svg",
        title: "Round trip by size: lower is better",
        x: BYTES,
        y: Axis { title: "p50", value: |line| line.p50_ns, label: |&ns| round(duration(ns)) },
    },
    Plot {
        section: "throughput",
        file: "throughput.svg",
        title: "Throughput by size, one way: higher is better",
        x: BYTES,
        y: Axis {
            title: "bytes a second",
            value: |line| line.bytes_per_s,
            label: |&rate| round(quantity(rate)),
        },
    },
    Plot {
        section: "parallel",
        file: "parallel.svg",
        title: "Round trips of 64 bytes side by side: higher is better",
        x: Axis {
            title: "streams, or connections",
            value: |line| line.streams as f64,
            label: |streams| format!("{streams:.0}"),
        },
        y: Axis {
            title: "messages a second",
            value: |line| line.msgs_per_s,
            label: |&rate| round(quantity(rate)),
        },
    },
    Plot {
        section: "latency",
        file: "cpu.svg",
        title: "CPU of both processes for a message of a round trip: lower is better",
        x: BYTES,
        y: Axis {
            title: "CPU time a message",
            value: |line| line.cpu_ns_per_op / 2.0,
            label: |&ns| round(duration(ns)),
        },
    },
    Plot {
        section: "load",
        file: "load.svg",
        title: "Tail by load, 64 bytes: lower is better",
        x: Axis {
            title: "percent of what a Unix socket carries",
            value: |line| f64::from(line.percent),
            label: |percent| format!("{percent:.0} %"),
        },
        y: Axis {
            title: "p99 from due to checked",
            value: |line| line.p99_ns,
            label: |&ns| round(duration(ns)),
        },
    },
];

/// What is drawn, and how. What waits in both ways has two lines.
const LINES: [(Transport, RGBColor); 10] = [
    (Transport::ShmSync, RGBColor(214, 39, 40)),
    (Transport::ShmAsync, RGBColor(255, 127, 14)),
    (Transport::Uds, RGBColor(0, 0, 0)),
    (Transport::Tcp, RGBColor(140, 140, 140)),
    (Transport::ShmipcRs, RGBColor(31, 119, 180)),
    (Transport::ShmipcRsEventfd, RGBColor(23, 190, 207)),
    (Transport::Iceoryx2PubSub, RGBColor(44, 160, 44)),
    (Transport::Iceoryx2PubSubEvent, RGBColor(152, 205, 100)),
    (Transport::Zmq, RGBColor(148, 103, 189)),
    (Transport::IpcChannel, RGBColor(140, 86, 75)),
];

/// One line of a plot, from left to right.
struct Line {
    name: String,
    color: RGBColor,
    /// Strokes as wide as this.
    width: u32,
    points: Vec<(f64, f64)>,
}

/// Draws what was measured. Gives files and titles.
pub(super) fn draw(out: &Path, results: &Results) -> io::Result<Vec<(&'static str, &'static str)>> {
    let mut drawn = Vec::new();
    for plot in &PLOTS {
        let section = results.sections.iter().find(|section| section.name == plot.section);
        if let Some(section) = section.filter(|section| !section.figures.is_empty()) {
            plot.draw(&out.join(plot.file), section)
                .map_err(|error| io::Error::other(error.to_string()))?;
            drawn.push((plot.file, plot.title));
        }
    }
    Ok(drawn)
}

impl Plot {
    fn draw(&self, file: &Path, section: &Section) -> Result<(), Box<dyn Error>> {
        let lines = self.lines(&section.figures);
        let all = || lines.iter().flat_map(|line| &line.points);
        let x = Scale::of_values(all().map(|point| point.0));
        let y = Scale::of_decades(all().map(|point| point.1));
        let area = SVGBackend::new(file, (960, 560)).into_drawing_area();
        area.fill(&WHITE)?;
        let (plot, legend) = area.split_horizontally(730);
        let mut chart = ChartBuilder::on(&plot)
            .caption(self.title, ("sans-serif", 19))
            .margin(12)
            .x_label_area_size(46)
            .y_label_area_size(84)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .x_desc(self.x.title)
            .y_desc(self.y.title)
            .x_label_formatter(&self.x.label)
            .y_label_formatter(&self.y.label)
            .label_style(("sans-serif", 14))
            .light_line_style(TRANSPARENT)
            .draw()?;
        for (number, line) in lines.iter().enumerate() {
            let style = line.color.stroke_width(line.width);
            chart.draw_series(LineSeries::new(line.points.iter().copied(), style))?;
            let dots = line.points.iter().map(|&point| Circle::new(point, 3, line.color.filled()));
            chart.draw_series(dots)?;
            let height = 60 + 24 * number as i32;
            legend.draw(&PathElement::new(vec![(4, height), (32, height)], style))?;
            legend.draw(&Circle::new((18, height), 3, line.color.filled()))?;
            let text = ("sans-serif", 14).into_font();
            legend.draw(&Text::new(line.name.clone(), (40, height - 7), text))?;
        }
        area.present()?;
        Ok(())
    }

    fn lines(&self, figures: &[Figures]) -> Vec<Line> {
        let mut lines = Vec::new();
        for (transport, color) in LINES {
            for (wait, width) in [(Wait::Adaptive, 4), (Wait::Block, 2), (Wait::Spin, 2)] {
                let its =
                    figures.iter().filter(|line| (line.transport, line.wait) == (transport, wait));
                let mut points: Vec<_> =
                    its.map(|line| ((self.x.value)(line), (self.y.value)(line))).collect();
                points.sort_by(|a, b| a.0.total_cmp(&b.0));
                let name = match (transport.is_ours(), wait) {
                    (true, Wait::Block) => format!("{transport}, block"),
                    _ => transport.to_string(),
                };
                if !points.is_empty() {
                    lines.push(Line { name, color, width, points });
                }
            }
        }
        lines
    }
}

/// Without digits behind the point that are zero.
fn round(text: String) -> String {
    text.replace(".00 ", " ").replace(".0 ", " ")
}

/// A logarithmic axis with a mark at each of these values.
struct Scale {
    marks: Vec<f64>,
    range: std::ops::Range<f64>,
}

impl Scale {
    /// A mark for each of a few values.
    fn of_values(values: impl Iterator<Item = f64>) -> Self {
        let mut marks: Vec<f64> = values.collect();
        marks.sort_by(f64::total_cmp);
        marks.dedup();
        let (least, most) = ends(&marks);
        Self { marks, range: least / 1.15..most * 1.15 }
    }

    /// A mark for each power of ten, and three of it; if these are few, for two and five.
    fn of_decades(values: impl Iterator<Item = f64>) -> Self {
        let (least, most) = ends(&values.collect::<Vec<_>>());
        let range = least / 1.3..most * 1.3;
        let decades = range.start.log10().floor() as i32..=range.end.log10().ceil() as i32;
        let steps: &[f64] =
            if range.end < 30.0 * range.start { &[1.0, 2.0, 5.0] } else { &[1.0, 3.0] };
        let marks =
            decades.flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)));
        Self { marks: marks.filter(|mark| range.contains(mark)).collect(), range }
    }
}

/// The least and the largest of positive numbers.
fn ends(values: &[f64]) -> (f64, f64) {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min).clamp(1e-6, 1e18);
    (least, values.iter().copied().fold(least, f64::max))
}

impl Ranged for Scale {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (start, end): (i32, i32)) -> i32 {
        let ratio = |value: f64| (value.max(1e-9) / self.range.start).ln();
        start + (f64::from(end - start) * ratio(*value) / ratio(self.range.end)).round() as i32
    }

    fn key_points<H: KeyPointHint>(&self, _: H) -> Vec<f64> {
        self.marks.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.range.clone()
    }
}
