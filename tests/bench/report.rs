//! The figures, for people while they come and for machines at the end.

use anyhow::Context;
use serde::Serialize;
use std::path::PathBuf;

/// What an issue wants of a figure, in its unit.
#[derive(Debug, Clone, Copy)]
pub enum Reach {
    AtLeast(f64),
    AtMost(f64),
}

#[derive(Debug, Serialize)]
pub struct Figure {
    name: String,
    /// Median of the samples.
    value: f64,
    unit: &'static str,
    samples: Vec<f64>,
    /// What bounds it, and how far from it this is.
    #[serde(skip_serializing_if = "Option::is_none")]
    bound: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reach: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    met: Option<bool>,
}

impl Figure {
    pub fn reach(&mut self, reach: Reach) {
        let (words, wanted, met) = match reach {
            Reach::AtLeast(wanted) => ("at least", wanted, self.value >= wanted),
            Reach::AtMost(wanted) => ("at most", wanted, self.value <= wanted),
        };
        let unit = self.unit;
        println!("    to reach: {words} {wanted} {unit}: {}", if met { "met" } else { "NOT MET" });
        (self.reach, self.met) = (Some(wanted), Some(met));
    }
}

pub struct Report {
    figures: Vec<Figure>,
}

impl Report {
    pub fn new() -> Self {
        Self { figures: Vec::new() }
    }

    pub fn add(
        &mut self,
        name: impl Into<String>,
        unit: &'static str,
        samples: Vec<f64>,
        bound: Option<String>,
    ) -> &mut Figure {
        let (name, value) = (name.into(), median(&samples));
        println!("{name:<44} {value:>12.3} {unit:<10} {}", bound.as_deref().unwrap_or(""));
        self.figures.push(Figure { name, value, unit, samples, bound, reach: None, met: None });
        let last = self.figures.len() - 1;
        &mut self.figures[last]
    }

    /// A figure of this report.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|f| f.name == name).map(|f| f.value)
    }

    pub fn write(&self) -> anyhow::Result<()> {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
        let file = target.join("bench").join("report.json");
        std::fs::create_dir_all(target.join("bench")).with_context(|| format!("cannot make {}", target.display()))?;
        std::fs::write(&file, serde_json::to_vec_pretty(&self.figures)?)?;
        println!("written to {}", file.display());
        Ok(())
    }
}

pub fn median(samples: &[f64]) -> f64 {
    percentile(samples, 50.0)
}

/// By nearest rank.
pub fn percentile(samples: &[f64], percent: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = ((percent / 100.0) * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
}
