//! Points of the earth as numbers whose order keeps neighbours together.
//!
//! ```text
//! step 1          a cell of step s has s bits of each coordinate; taken in
//! ┌────┬────┐     turns, longitude first, they make its number:
//! │ 01 │ 11 │
//! ├────┼────┤       … lon₁ lat₁ lon₀ lat₀
//! │ 00 │ 10 │
//! └────┴────┘     A point is a cell of step 26: 52 bits, exact in a double.
//! ```
//!
//! A cell's points are one range of numbers. To search an area, cells are chosen
//! that are no smaller than it, so that the one in the middle and its eight
//! neighbours cover it; what lies in them is then measured one by one. The
//! choice, the order of the nine and every rounding are those of Redis, because
//! replies show them.

use std::ops::Range;

/// Steps of a point.
const STEP_MAX: u32 = 26;
/// Bits of a point.
const POINT_BITS: u32 = 2 * STEP_MAX;
/// In metres, as Redis has it.
const EARTH_RADIUS: f64 = 6_372_797.560_856;
/// Half the equator in the Mercator projection, metres.
const MERCATOR_MAX: f64 = 20_037_726.37;

/// Longitudes, and the latitudes that the projection shows, in degrees.
const LONGITUDE: Span = Span {
    min: -180.0,
    max: 180.0,
};
const LATITUDE: Span = Span {
    min: -85.051_128_78,
    max: 85.051_128_78,
};
/// Latitudes of a geohash as others write it.
const WHOLE_LATITUDE: Span = Span {
    min: -90.0,
    max: 90.0,
};

/// A stretch of one coordinate.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Span {
    min: f64,
    max: f64,
}

impl Span {
    fn contains(self, value: f64) -> bool {
        (self.min..=self.max).contains(&value)
    }

    /// In which of 2^step parts `value` lies; the upper end lies beyond the last.
    fn part_of(self, value: f64, step: u32) -> u32 {
        let share = (value - self.min) / (self.max - self.min);
        // Truncation intended; it lies between 0 and 2^26.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let part = (share * f64::from(1u32 << step)) as u32;
        part
    }

    /// The part of that number.
    fn part(self, number: u32, step: u32) -> Span {
        let (parts, scale) = (f64::from(1u32 << step), self.max - self.min);
        let at = |number: f64| self.min + number / parts * scale;
        Span {
            min: at(f64::from(number)),
            max: at(f64::from(number) + 1.0),
        }
    }

    /// The middle of `part`, not outside.
    fn middle_of(self, part: Span) -> f64 {
        ((part.min + part.max) / 2.0).clamp(self.min, self.max)
    }
}

/// A place, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub longitude: f64,
    pub latitude: f64,
}

impl Point {
    /// Whether it can be encoded.
    pub fn is_valid(self) -> bool {
        LONGITUDE.contains(self.longitude) && LATITUDE.contains(self.latitude)
    }

    /// Its number; it must be valid.
    pub fn encode(self) -> u64 {
        Cell::of(self, LATITUDE, STEP_MAX).bits()
    }

    /// The point of a sorted set's score; of any score, for clients may have set
    /// it.
    pub fn decode(score: f64) -> Self {
        let cell = Cell::from_bits(whole_bits(score), STEP_MAX);
        let (longitude, latitude) = cell.spans();
        Self {
            longitude: LONGITUDE.middle_of(longitude),
            latitude: LATITUDE.middle_of(latitude),
        }
    }

    /// As the geohash others write: eleven characters, of which the last one
    /// would need more bits than there are.
    pub fn geohash(self) -> [u8; 11] {
        const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        const CHARACTER_BITS: u32 = 5;
        let bits = Cell::of(self, WHOLE_LATITUDE, STEP_MAX).bits();
        let mut shift = POINT_BITS;
        std::array::from_fn(|_| {
            let index = match shift.checked_sub(CHARACTER_BITS) {
                Some(less) => {
                    shift = less;
                    bits >> shift & 0x1F
                }
                None => 0,
            };
            ALPHABET[index as usize]
        })
    }

    /// The distance in metres on a sphere (haversine).
    pub fn distance(self, other: Self) -> f64 {
        let [from, to] = [self, other].map(|point| point.longitude.to_radians());
        let across = ((to - from) / 2.0).sin();
        if across == 0.0 {
            return latitude_distance(self.latitude, other.latitude);
        }
        let [south, north] = [self, other].map(|point| point.latitude.to_radians());
        let along = ((north - south) / 2.0).sin();
        let a = along * along + south.cos() * north.cos() * across * across;
        2.0 * EARTH_RADIUS * a.sqrt().asin()
    }
}

/// The distance of two parallels, metres.
fn latitude_distance(one: f64, other: f64) -> f64 {
    EARTH_RADIUS * (other.to_radians() - one.to_radians()).abs()
}

/// Radians as degrees, rounded as Redis rounds them: by a division.
fn degrees(radians: f64) -> f64 {
    radians / 1f64.to_radians()
}

/// A score's whole part as 64 bits, also of those that do not fit: then as the
/// machine Redis was compiled for answers.
fn whole_bits(score: f64) -> u64 {
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    // Truncation intended.
    #[allow(clippy::cast_possible_truncation)]
    let signed = |value: f64| {
        if (-HALF..HALF).contains(&value) {
            (value as i64).cast_unsigned()
        } else {
            1 << 63
        }
    };
    if score < HALF {
        signed(score)
    } else {
        signed(score - HALF) ^ 1 << 63
    }
}

/// A cell of the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    longitude: u32,
    latitude: u32,
    step: u32,
}

impl Cell {
    fn of(point: Point, latitudes: Span, step: u32) -> Self {
        Self {
            longitude: LONGITUDE.part_of(point.longitude, step),
            latitude: latitudes.part_of(point.latitude, step),
            step,
        }
    }

    fn from_bits(bits: u64, step: u32) -> Self {
        Self {
            longitude: every_other_bit(bits >> 1),
            latitude: every_other_bit(bits),
            step,
        }
    }

    fn bits(self) -> u64 {
        spread(self.longitude) << 1 | spread(self.latitude)
    }

    /// Its longitudes and latitudes.
    fn spans(self) -> (Span, Span) {
        let longitude = LONGITUDE.part(self.longitude, self.step);
        (longitude, LATITUDE.part(self.latitude, self.step))
    }

    /// The neighbour so many cells to the east and to the north. The grid has no
    /// edge: beyond it lies the opposite one.
    fn moved(self, east: i32, north: i32) -> Self {
        // Only what moves is folded: the cell of the upper end stays beyond it.
        let moved = |part: u32, by: i32| match by {
            0 => part,
            _ => part.wrapping_add_signed(by) & ((1 << self.step) - 1),
        };
        Self {
            longitude: moved(self.longitude, east),
            latitude: moved(self.latitude, north),
            step: self.step,
        }
    }

    /// The numbers of its points.
    fn numbers(self) -> Range<u64> {
        let shift = POINT_BITS - 2 * self.step;
        let bits = self.bits();
        bits << shift..(bits + 1) << shift
    }
}

/// Puts a zero before every bit.
fn spread(part: u32) -> u64 {
    let mut bits = u64::from(part);
    for (shift, mask) in [
        (16, 0x0000_FFFF_0000_FFFF),
        (8, 0x00FF_00FF_00FF_00FF),
        (4, 0x0F0F_0F0F_0F0F_0F0F),
        (2, 0x3333_3333_3333_3333),
        (1, 0x5555_5555_5555_5555),
    ] {
        bits = (bits | bits << shift) & mask;
    }
    bits
}

/// The other way round.
fn every_other_bit(bits: u64) -> u32 {
    let mut part = bits & 0x5555_5555_5555_5555;
    for (shift, mask) in [
        (1, 0x3333_3333_3333_3333),
        (2, 0x0F0F_0F0F_0F0F_0F0F),
        (4, 0x00FF_00FF_00FF_00FF),
        (8, 0x0000_FFFF_0000_FFFF),
        (16, 0x0000_0000_FFFF_FFFF),
    ] {
        part = (part | part >> shift) & mask;
    }
    // Truncation intended: the upper half is empty.
    #[allow(clippy::cast_possible_truncation)]
    let part = part as u32;
    part
}

/// What is searched, in metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    Circle { radius: f64 },
    Box { width: f64, height: f64 },
}

/// A shape around a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    pub center: Point,
    pub shape: Shape,
}

impl Area {
    /// The distance of a point from the centre, if it lies in the area.
    pub fn distance_within(&self, point: Point) -> Option<f64> {
        match self.shape {
            Shape::Circle { radius } => {
                let distance = self.center.distance(point);
                (distance <= radius).then_some(distance)
            }
            Shape::Box { width, height } => {
                let along = latitude_distance(point.latitude, self.center.latitude);
                let beside = Point {
                    longitude: self.center.longitude,
                    latitude: point.latitude,
                };
                if along > height / 2.0 || point.distance(beside) > width / 2.0 {
                    return None;
                }
                Some(self.center.distance(point))
            }
        }
    }

    /// The ranges of numbers in which all points of the area lie, in the order
    /// in which they are searched, none of them twice.
    pub fn ranges(&self) -> Vec<Range<u64>> {
        let (longitudes, latitudes) = self.bounds();
        let step = self.step();
        let mut cell = Cell::of(self.center, LATITUDE, step);
        if step > 1 && !covers(cell, longitudes, latitudes) {
            cell = Cell::of(self.center, LATITUDE, step - 1);
        }
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for (east, north) in useful_neighbours(cell, longitudes, latitudes) {
            let range = cell.moved(east, north).numbers();
            // Of cells that large there are so few that a neighbour on one side is
            // that on the other, too; the first is never anybody's neighbour.
            let again = ranges.len() > 1 && ranges.last() == Some(&range);
            if !again {
                ranges.push(range);
            }
        }
        ranges
    }

    /// Half of the height and of the width, and how far the farthest point is.
    fn extent(&self) -> (f64, f64, f64) {
        match self.shape {
            Shape::Circle { radius } => (radius, radius, radius),
            Shape::Box { width, height } => {
                let (height, width) = (height / 2.0, width / 2.0);
                (height, width, (width * width + height * height).sqrt())
            }
        }
    }

    /// The longitudes and latitudes the area reaches; not folded at the poles
    /// and the date line.
    fn bounds(&self) -> (Span, Span) {
        let Point {
            longitude,
            latitude,
        } = self.center;
        let (height, width, _) = self.extent();
        let latitude_reach = degrees(height / EARTH_RADIUS);
        // A circle of latitude is shorter the nearer it is to a pole.
        let nearest_pole = if latitude < 0.0 {
            latitude - latitude_reach
        } else {
            latitude + latitude_reach
        };
        let shrunk = width / EARTH_RADIUS / nearest_pole.to_radians().cos();
        let longitude_reach = degrees(shrunk);
        let around = |middle: f64, reach: f64| Span {
            min: middle - reach,
            max: middle + reach,
        };
        (
            around(longitude, longitude_reach),
            around(latitude, latitude_reach),
        )
    }

    /// The step of cells that are about as large as the area: larger near the
    /// poles, where cells are narrow.
    fn step(&self) -> u32 {
        let (_, _, mut reach) = self.extent();
        if reach == 0.0 {
            return STEP_MAX;
        }
        let mut step = 1i32;
        while reach < MERCATOR_MAX {
            reach *= 2.0;
            step += 1;
        }
        let latitude = self.center.latitude.abs();
        // Two less, so that the neighbours cover the area in the worst case.
        step -= 2 + i32::from(latitude > 66.0) + i32::from(latitude > 80.0);
        step.clamp(1, STEP_MAX.cast_signed()).cast_unsigned()
    }
}

/// Whether a cell and its neighbours reach as far as the area.
fn covers(cell: Cell, longitudes: Span, latitudes: Span) -> bool {
    let (east, west) = (cell.moved(1, 0).spans().0, cell.moved(-1, 0).spans().0);
    let (north, south) = (cell.moved(0, 1).spans().1, cell.moved(0, -1).spans().1);
    // Bounds that are no numbers count as reached.
    let short = north.max < latitudes.max
        || south.min > latitudes.min
        || east.max < longitudes.max
        || west.min > longitudes.min;
    !short
}

/// The cell itself and its neighbours, but for those on a side to which the area
/// does not reach.
fn useful_neighbours(
    cell: Cell,
    longitudes: Span,
    latitudes: Span,
) -> impl Iterator<Item = (i32, i32)> {
    const ORDER: [(i32, i32); 9] = [
        (0, 0),
        (0, 1),
        (0, -1),
        (1, 0),
        (-1, 0),
        (1, 1),
        (-1, 1),
        (1, -1),
        (-1, -1),
    ];
    let (own_longitudes, own_latitudes) = cell.spans();
    let large = cell.step < 2;
    ORDER.into_iter().filter(move |(east, north)| {
        let useless = *north < 0 && own_latitudes.min < latitudes.min
            || *north > 0 && own_latitudes.max > latitudes.max
            || *east < 0 && own_longitudes.min < longitudes.min
            || *east > 0 && own_longitudes.max > longitudes.max;
        large || !useless
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(longitude: f64, latitude: f64) -> Point {
        Point {
            longitude,
            latitude,
        }
    }

    /// Recorded from redis-server 7.0.15: GEOADD, ZSCORE, GEOPOS, GEOHASH.
    #[test]
    fn points_are_encoded_as_by_redis() {
        for (longitude, latitude, score, there, hash) in [
            (
                13.361389,
                38.115556,
                3_479_099_956_230_698,
                (13.361_389_338_970_184, 38.115_556_395_496_3),
                "sqc8b49rny0",
            ),
            (
                15.087269,
                37.502669,
                3_479_447_370_796_909,
                (15.087_267_458_438_873, 37.502_668_423_331_62),
                "sqdtr74hyu0",
            ),
            (
                -180.0,
                -85.05112878,
                0,
                (-179.999_997_317_790_99, -85.051_127_512_639_43),
                "00bh0hbj200",
            ),
            (
                180.0,
                85.05112878,
                13_510_798_882_111_488,
                (180.0, 85.051_128_78),
                "bp05b5048p0",
            ),
        ] {
            let encoded = point(longitude, latitude).encode();
            assert_eq!(encoded, score);
            let decoded = Point::decode(encoded as f64);
            assert_eq!(decoded, point(there.0, there.1));
            assert_eq!(decoded.geohash(), hash.as_bytes());
        }
    }

    /// Recorded from redis-server 7.0.15: ZADD, GEOPOS.
    #[test]
    fn any_score_is_a_point() {
        let (low, high) = (-179.999_997_317_790_99, 85.051_128_78);
        for (score, longitude, latitude) in [
            (-5.0, 180.0, high),
            (1.5, low, -85.051_124_977_918_25),
            (1e300, low, -85.051_127_512_639_43),
            (f64::INFINITY, low, -85.051_127_512_639_43),
            (4_503_599_627_370_496.0, low, high),
        ] {
            assert_eq!(Point::decode(score), point(longitude, latitude), "{score}");
        }
    }

    /// Recorded from redis-server 7.0.15: GEODIST.
    #[test]
    fn distances_are_those_of_redis() {
        let at = |longitude, latitude| Point::decode(point(longitude, latitude).encode() as f64);
        let (palermo, catania) = (at(13.361389, 38.115556), at(15.087269, 37.502669));
        assert_eq!(format!("{:.4}", palermo.distance(catania)), "166274.1516");
        let corners = at(-180.0, -85.05112878).distance(at(180.0, 85.05112878));
        assert_eq!(format!("{corners:.4}"), "18919844.5891");
        assert_eq!(palermo.distance(palermo), 0.0);
    }

    #[test]
    fn an_area_lies_within_its_ranges() {
        let mut state = 7u64;
        let mut random = |end: f64| {
            state = state
                .wrapping_mul(0x5851_F42D_4C95_7F2D)
                .wrapping_add(0x1405_7B7E_F767_814F);
            (state >> 11) as f64 / (1u64 << 53) as f64 * end
        };
        let mut found = 0;
        for _ in 0..2_000 {
            let center = point(random(300.0) - 150.0, random(140.0) - 70.0);
            let size = 10f64.powf(random(5.7));
            let shape = if random(1.0) < 0.5 {
                Shape::Circle { radius: size }
            } else {
                Shape::Box {
                    width: size,
                    height: random(2.0) * size,
                }
            };
            let area = Area { center, shape };
            let ranges = area.ranges();
            for (index, range) in ranges.iter().enumerate() {
                assert!(!ranges[..index].contains(range));
            }
            for _ in 0..50 {
                let reach = size / 50_000.0;
                let longitude = center.longitude + random(reach) - reach / 2.0;
                let latitude = center.latitude + random(reach) - reach / 2.0;
                let near = point(longitude, latitude);
                if near.is_valid() && area.distance_within(near).is_some() {
                    found += 1;
                    let number = near.encode();
                    let covered = ranges.iter().any(|range| range.contains(&number));
                    assert!(covered, "{area:?} {near:?}");
                }
            }
        }
        assert!(found > 10_000, "only {found}");
    }

    #[test]
    fn bits_are_spread_and_gathered() {
        for part in [0, 1, 0x5A5A_5A5A, u32::MAX] {
            assert_eq!(every_other_bit(spread(part)), part);
            assert_eq!(every_other_bit(spread(part) << 1), 0);
        }
    }
}
