//! Drawings of the report, as SVG. plotters draws them: text only, no fonts or bitmaps to ship, and kept by many.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

const SIZE: (u32, u32) = (720, 400);

/// A named line.
pub type Series = (String, Vec<(f64, f64)>);

/// Lines over one axis.
#[derive(Clone, Debug)]
pub struct Plot {
    /// Of the file, without its ending.
    pub name: &'static str,
    /// Above the drawing.
    pub title: &'static str,
    /// Below it.
    pub x: &'static str,
    /// At its left.
    pub y: &'static str,
    /// Both axes by powers of ten; else both linear.
    pub logarithmic: bool,
    /// Lines. Order: of the legend.
    pub series: Vec<Series>,
}

impl Plot {
    /// Draws it into `folder`.
    pub fn draw(&self, folder: &Path) -> Result<()> {
        let points = || self.series.iter().flat_map(|(_, points)| points);
        let bounds = |of: fn(&(f64, f64)) -> f64| {
            points().map(of).fold((f64::INFINITY, 0.0f64), |(least, most), value| (least.min(value), most.max(value)))
        };
        let ((x_least, x_most), (y_least, y_most)) = (bounds(|point| point.0), bounds(|point| point.1));
        let path = folder.join(format!("{}.svg", self.name));
        let drawn = if self.logarithmic {
            let x = (x_least.max(1e-3)..x_most * 1.2).log_scale();
            self.draw_on(&path, x, (y_least.max(1e-3) / 1.5..y_most * 1.5).log_scale())
        } else {
            self.draw_on(&path, x_least..x_most, 0.0..y_most * 1.1)
        };
        drawn.map_err(|error| anyhow!("{}: {error}", path.display()))
    }

    fn draw_on<X, Y>(&self, path: &Path, x: X, y: Y) -> Result<(), Box<dyn std::error::Error>>
    where
        X: AsRangedCoord<Value = f64>,
        Y: AsRangedCoord<Value = f64>,
        X::CoordDescType: ValueFormatter<f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        let root = SVGBackend::new(path, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(self.title, ("sans-serif", 16))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(64)
            .build_cartesian_2d(x, y)?;
        let shown = |value: &f64| shown(*value);
        chart
            .configure_mesh()
            .x_desc(self.x)
            .y_desc(self.y)
            .x_label_formatter(&shown)
            .y_label_formatter(&shown)
            .draw()?;
        for (at, (name, points)) in self.series.iter().enumerate() {
            let color = Palette99::pick(at).to_rgba();
            let line = LineSeries::new(points.iter().copied(), color.stroke_width(2)).point_size(3);
            chart
                .draw_series(line)?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
        }
        chart.configure_series_labels().border_style(BLACK.mix(0.3)).background_style(WHITE.mix(0.8)).draw()?;
        root.present()?;
        Ok(())
    }
}

fn shown(value: f64) -> String {
    match value {
        1e6.. => format!("{}M", value / 1e6),
        1e3.. => format!("{}k", value / 1e3),
        10.0.. => format!("{value:.0}"),
        _ => format!("{value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_holds_its_lines_and_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let series = vec![("put".to_owned(), vec![(1.0, 2.0), (100.0, 20.0)]), ("get".to_owned(), vec![(1.0, 1.0)])];
        for (name, logarithmic) in [("straight", false), ("curved", true)] {
            let plot = Plot { name, title: "cost", x: "size", y: "µs", logarithmic, series: series.clone() };
            plot.draw(folder.path()).expect("drawn");
            let text = std::fs::read_to_string(folder.path().join(format!("{name}.svg"))).expect("a file");
            for word in ["<svg", "<polyline", "cost", "put", "get", "µs"] {
                assert!(text.contains(word), "{name}: {word}");
            }
        }
    }
}
