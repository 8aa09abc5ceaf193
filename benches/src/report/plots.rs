//! The plots, as SVG: logarithmic both ways, a line for each transport.

use std::io;
use std::path::Path;

use plotters::prelude::*;

use super::page::label;
use super::{Results, Section};
use crate::measure::Figures;

/// A plot of one section.
struct Plot {
    section: &'static str,
    file: &'static str,
    title: &'static str,
    x: (&'static str, fn(&Figures) -> f64),
    y: (&'static str, fn(&Figures) -> f64),
}

const PLOTS: [Plot; 5] = [
    Plot {
        section: "latency",
        file: "latency.svg",
        title: "Round trip by size",
        x: ("bytes", |line| line.size as f64),
        y: ("microseconds, p50", |line| line.p50_ns / 1e3),
    },
    Plot {
        section: "throughput",
        file: "throughput.svg",
        title: "Throughput by size, one way",
        x: ("bytes", |line| line.size as f64),
        y: ("megabytes a second", |line| line.bytes_per_s / 1e6),
    },
    Plot {
        section: "parallel",
        file: "parallel.svg",
        title: "Round trips side by side, 64 B",
        x: ("streams", |line| line.streams as f64),
        y: ("messages a second", |line| line.msgs_per_s),
    },
    Plot {
        section: "latency",
        file: "cpu.svg",
        title: "CPU of both processes for a round trip",
        x: ("bytes", |line| line.size as f64),
        y: ("microseconds", |line| line.cpu_ns_per_op / 1e3),
    },
    Plot {
        section: "load",
        file: "load.svg",
        title: "Tail by load, 64 B",
        x: ("percent of what a Unix socket carries", |line| f64::from(line.percent)),
        y: ("microseconds late, p99", |line| line.p99_ns / 1e3),
    },
];

/// Draws what was measured. Gives files and titles.
pub(super) fn draw(out: &Path, results: &Results) -> io::Result<Vec<(&'static str, &'static str)>> {
    let mut drawn = Vec::new();
    for plot in &PLOTS {
        let section = results.sections.iter().find(|section| section.name == plot.section);
        if let Some(section) = section {
            plot.draw(&out.join(plot.file), section)
                .map_err(|error| io::Error::other(error.to_string()))?;
            drawn.push((plot.file, plot.title));
        }
    }
    Ok(drawn)
}

impl Plot {
    fn draw(&self, file: &Path, section: &Section) -> Result<(), Box<dyn std::error::Error>> {
        let lines = self.lines(&section.figures);
        let all = || lines.iter().flat_map(|(_, points)| points);
        let (x, y) = (range(all().map(|point| point.0)), range(all().map(|point| point.1)));
        let area = SVGBackend::new(file, (900, 560)).into_drawing_area();
        area.fill(&WHITE)?;
        let (plot, legend) = area.split_horizontally(680);
        let mut chart = ChartBuilder::on(&plot)
            .caption(self.title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(76)
            .build_cartesian_2d((x.0..x.1).log_scale(), (y.0..y.1).log_scale())?;
        chart.configure_mesh().x_desc(self.x.0).y_desc(self.y.0).draw()?;
        for (number, (name, points)) in lines.iter().enumerate() {
            let ours = name.starts_with("**");
            let color = Palette99::pick(number).stroke_width(if ours { 4 } else { 1 });
            chart.draw_series(LineSeries::new(points.iter().copied(), color))?;
            let dots = points.iter().map(|&point| Circle::new(point, 3, color.filled()));
            chart.draw_series(dots)?;
            let height = 40 + 20 * number as i32;
            legend.draw(&PathElement::new(vec![(4, height), (28, height)], color))?;
            let style = ("sans-serif", 13).into_font();
            legend.draw(&Text::new(name.replace("**", ""), (34, height - 6), style))?;
        }
        area.present()?;
        Ok(())
    }

    /// The points of each transport, from left to right.
    fn lines(&self, figures: &[Figures]) -> Vec<(String, Vec<(f64, f64)>)> {
        let mut lines: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
        for line in figures {
            let (name, point) = (label(line), ((self.x.1)(line), (self.y.1)(line)));
            match lines.iter_mut().find(|(other, _)| *other == name) {
                Some((_, points)) => points.push(point),
                None => lines.push((name, vec![point])),
            }
        }
        for (_, points) in &mut lines {
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        lines
    }
}

/// From a little below the smallest to a little above the largest.
fn range(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let least = values.clone().fold(f64::INFINITY, f64::min).max(1e-6);
    let most = values.fold(0.0, f64::max).max(least);
    (least / 1.3, most * 1.3)
}
