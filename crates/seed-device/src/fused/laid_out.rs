//! Maps as correlations read them on `flex`.
//!
//! There is no matrix of patches. A map is laid out with its border, its rows one behind the other, so that what a tap of the
//! kernel sees for all outputs is one run of memory from the tap's offset on; where the kernel goes by more than one place at a
//! time, places that it sees together lie together. What would be computed between two rows means nothing.

/// Elements of the widest vector.
pub(super) const VECTOR: usize = 16;

/// Which places of a map each output sees.
#[derive(Debug, Clone)]
pub(super) struct Correlation {
    /// Channels of the map.
    pub(super) channels: usize,
    /// Height and width of the map.
    pub(super) map: [usize; 2],
    /// The place that the first tap, were it at shift 0, sees for the first output; before the map where negative.
    pub(super) origin: [isize; 2],
    /// Places from an output to the next.
    pub(super) stride: [usize; 2],
    /// Where each tap is, from the first output's place on.
    pub(super) shifts: Vec<[usize; 2]>,
    /// Height and width of the output.
    pub(super) output: [usize; 2],
}

/// Maps as they are laid out: `[channel, seen together, picture, row, column]`.
///
/// Where the border behind a row, or behind a picture, is as long as the one before the next, one stands for both.
pub(super) struct Layout {
    /// Pictures side by side.
    pub(super) pictures: usize,
    /// Rows of the output, of each.
    pub(super) rows: usize,
    /// Rows and columns of what is seen together.
    pub(super) height: usize,
    pub(super) width: usize,
    /// Elements of a channel.
    pub(super) plane: usize,
    /// Of each tap, inside a channel.
    pub(super) offsets: Vec<usize>,
    /// What is read behind the last channel, at most.
    behind: usize,
}

/// Which of the places of one side are laid out.
#[derive(Debug, Clone, Copy)]
struct Span {
    /// Zeros before them.
    before: usize,
    count: usize,
    /// The first of the map, and the distance to the next.
    from: usize,
    step: usize,
}

impl Span {
    /// Places `from`, `from + step`, .. of a map of this size, of which `room` are laid out.
    fn new(from: isize, step: usize, size: usize, room: usize) -> Self {
        let before = ((-from).max(0) as usize).div_ceil(step).min(room);
        // At least 0: so many steps lead into the map.
        let from = (from + (before * step) as isize).max(0) as usize;
        let count = size.saturating_sub(from).div_ceil(step);
        Self {
            before,
            count: count.min(room - before),
            from,
            step,
        }
    }

    /// The place of the map that is laid out here, if any.
    fn place(&self, at: usize) -> Option<usize> {
        let inside = at.checked_sub(self.before)?;
        (inside < self.count).then(|| self.from + inside * self.step)
    }

    /// Lays out a row.
    fn copy(&self, map: &[f32], row: &mut [f32]) {
        let (before, row) = row.split_at_mut(self.before);
        let (inside, behind) = row.split_at_mut(self.count);
        before.fill(0.0);
        behind.fill(0.0);
        if inside.is_empty() {
            return;
        }
        let map = &map[self.from..];
        if self.step == 1 {
            inside.copy_from_slice(&map[..inside.len()]);
        } else {
            for (value, &seen) in inside.iter_mut().zip(map.iter().step_by(self.step)) {
                *value = seen;
            }
        }
    }
}

impl Correlation {
    /// Of one side: for each group of places that are seen together, which are laid out for the outputs from `first` on.
    fn spans(&self, side: usize, first: usize, room: usize) -> Vec<Span> {
        let step = self.stride[side];
        let spans = (0..step).map(|rest| {
            let from = (first * step + rest) as isize + self.origin[side];
            Span::new(from, step, self.map[side], room)
        });
        spans.collect()
    }

    /// Places from a row, or a picture, to the next, of which this many are read.
    fn pitch(&self, side: usize, read: usize) -> usize {
        let spans = self.spans(side, 0, read);
        let pitch = spans
            .iter()
            .map(|span| (span.before + span.count).max(read - span.before));
        pitch.max().unwrap_or(read)
    }

    pub(super) fn layout(&self, rows: usize, pictures: usize) -> Layout {
        let [down, right] = self.stride;
        let read = |side: usize, outputs: usize| {
            let shifts = self.shifts.iter().map(|shift| shift[side]);
            outputs + shifts.max().unwrap_or(0) / self.stride[side]
        };
        let (read_rows, read_columns) = (read(0, rows), read(1, self.output[1]));
        let width = self.pitch(1, read_columns);
        let height = if rows == self.output[0] {
            self.pitch(0, read_rows)
        } else {
            read_rows
        };
        let offset = |[row, column]: [usize; 2]| {
            let together = row % down * right + column % right;
            (together * pictures * height + row / down) * width + column / right
        };
        Layout {
            pictures,
            rows,
            height,
            width,
            plane: down * right * pictures * height * width,
            offsets: self.shifts.iter().map(|&shift| offset(shift)).collect(),
            behind: (read_rows - height) * width + read_columns - width + VECTOR,
        }
    }

    /// As many rows at a time as fit, at least one.
    pub(super) fn layout_within(&self, elements: usize) -> Layout {
        let all = self.layout(self.output[0], 1);
        let (one, two) = (self.layout(1, 1), self.layout(2, 1));
        let room = (elements / self.channels.max(1)).saturating_sub(one.plane);
        let rows = 1 + room / two.plane.saturating_sub(one.plane).max(1);
        if rows >= all.rows {
            return all;
        }
        // Parts of about the same size.
        let parts = self.output[0].div_ceil(rows);
        self.layout(self.output[0].div_ceil(parts), 1)
    }

    /// Lays out what the rows of the output from `first` on see of a picture.
    pub(super) fn lay_out(
        &self,
        layout: &Layout,
        [picture, first]: [usize; 2],
        map: &[f32],
        laid_out: &mut [f32],
    ) {
        let [height, width] = self.map;
        let rows = self.spans(0, first, layout.height);
        let columns = self.spans(1, 0, layout.width);
        let of_picture = layout.height * layout.width;
        let maps = map.chunks_exact((height * width).max(1));
        for (map, plane) in maps.zip(laid_out.chunks_exact_mut(layout.plane)) {
            let mut pictures = plane.chunks_exact_mut(of_picture).skip(picture);
            for rows in &rows {
                for columns in &columns {
                    let Some(laid_out) = pictures.next() else {
                        return;
                    };
                    for (at, row) in laid_out.chunks_exact_mut(layout.width).enumerate() {
                        match rows.place(at) {
                            Some(seen) => columns.copy(&map[seen * width..][..width], row),
                            None => row.fill(0.0),
                        }
                    }
                    if layout.pictures > 1 {
                        // The same picture of what is seen together next.
                        pictures.nth(layout.pictures - 2);
                    }
                }
            }
        }
    }

    /// Of all channels and taps.
    pub(super) fn offsets(&self, layout: &Layout) -> Vec<usize> {
        (0..self.channels)
            .flat_map(|channel| {
                let taps = layout.offsets.iter();
                taps.map(move |tap| channel * layout.plane + tap)
            })
            .collect()
    }
}

impl Layout {
    /// From the first place of the first row to the last of the last.
    pub(super) fn run(&self, rows: usize, columns: usize) -> usize {
        (rows - 1) * self.width + columns
    }

    /// Elements of so many channels, and what is read behind them.
    pub(super) fn elements(&self, channels: usize) -> usize {
        channels * self.plane + self.behind
    }
}
