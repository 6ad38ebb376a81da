//! LOLWUT: a drawing, and the version.

use super::{Context, Flow, ROW, ServerRow};
use crate::config::REDIS_VERSION;
use shards::command::{Args, Arity, Group, flags};
use shards::{CommandError, parse_i64};

pub static COMMANDS: &[ServerRow] = &[ServerRow {
    name: "lolwut",
    syntax: "[VERSION version]",
    summary: "Draw something, and say the version.",
    since: "5.0.0",
    complexity: "O(1)",
    group: Group::Server,
    arity: Arity::AtLeast(1),
    flags: flags::READONLY.with(flags::FAST),
    run: lolwut,
    ..ROW
}];

/// Rows of the drawing.
const ROWS: u32 = 16;

/// Whoever asks for a version gets that of the drawing: there is one.
fn lolwut(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    if args.len() >= 3 && args[1].eq_ignore_ascii_case(b"version") {
        parse_i64(&args[2]).ok_or(CommandError::NotAnInteger)?;
    }
    let text = format!(
        "{}\nMany shards, one whole. Redis ver. {REDIS_VERSION}\n",
        draw()
    );
    ctx.reply().verbatim("txt", &text);
    Ok(Flow::Done)
}

/// The odd numbers of Pascal's triangle: a triangle of triangles.
fn draw() -> String {
    let mut text = String::new();
    for row in 0..ROWS {
        text.push_str(&" ".repeat((ROWS - 1 - row) as usize));
        for column in 0..=row {
            // Odd if and only if no bit of the column is missing in the row.
            text.push_str(if row & column == column { "^ " } else { "  " });
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_triangle_begins_and_ends_as_it_should() {
        let text = draw();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), ROWS as usize);
        assert_eq!(lines[0].trim(), "^");
        assert_eq!(lines[3].trim(), "^ ^ ^ ^");
        assert_eq!(lines[15], "^ ".repeat(16).trim_end());
    }
}
