//! Every unit for pairs of bf16 on this machine against plain loops.

use visage_kernels::pairs::{BLOCK, Product, pairs, rounded, widened};
use visage_kernels::{LANES, Unit, pair_kernels};

/// Small deterministic values, exact in bf16 and in sums of a few thousand products of two of them.
fn values(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + seed * 104_729) % 31) as f32 / 8.0 - 2.0).collect()
}

/// Values that rounding changes, up or down, some exactly between two numbers, and those that are no ordinary numbers.
fn awkward(count: usize) -> Vec<f32> {
    let special = [0.0, -0.0, f32::INFINITY, -f32::INFINITY, f32::NAN, 1e-40, -1e-40, f32::MAX, f32::MIN_POSITIVE];
    let ordinary = |i: usize| {
        let bits = (i as u32).wrapping_mul(0x9e37_79b9);
        // Every fourth one is a tie.
        f32::from_bits(0x3f00_0000 | bits >> 9 & if i.is_multiple_of(4) { 0x00ff_8000 } else { 0x00ff_ffff })
    };
    (0..count).map(|i| if i % 7 == 3 { special[i / 7 % special.len()] } else { ordinary(i) }).collect()
}

fn word(even: f32, odd: f32) -> u32 {
    u32::from(rounded(even)) | u32::from(rounded(odd)) << 16
}

#[test]
fn rounding_is_to_the_nearest_and_ties_to_even() {
    for value in awkward(5000).into_iter().filter(|value| value.is_normal() && value.abs() < 3e38) {
        let bits = value.to_bits() & 0xffff_0000;
        let (below, above) = (f32::from_bits(bits), f32::from_bits(bits + 0x1_0000));
        let found = widened(rounded(value));
        let (down, up) = ((value - below).abs(), (above - value).abs());
        let even = if bits >> 16 & 1 == 0 { below } else { above };
        let expected = if down == up {
            even
        } else if down < up {
            below
        } else {
            above
        };
        assert_eq!(found, expected, "{value}");
    }
    assert_eq!(widened(rounded(f32::MAX)), f32::INFINITY);
    assert!(widened(rounded(f32::NAN)).is_nan());
    assert!(widened(rounded(f32::from_bits(0x7f80_0001))).is_nan());
    assert_eq!(rounded(-1e-40), 0x8000);
}

#[test]
fn strips_cover_the_outputs() {
    for unit in Unit::available() {
        let kernels = pair_kernels(unit);
        for n in 0..150 {
            let mut next = 0;
            for (start, height) in kernels.strips(n) {
                assert_eq!(start, next);
                assert!((1..=kernels.max_strip).contains(&height));
                next += height;
                let mut places: Vec<_> = (0..height)
                    .flat_map(|m| (0..2 * BLOCK).map(move |pair| (m, pair)))
                    .map(|(m, pair)| kernels.place(height, m, pair))
                    .collect();
                places.sort_unstable();
                assert!(places.into_iter().eq(0..height * 2 * BLOCK), "{unit}: a strip of {height}");
            }
            assert_eq!(next, n);
        }
    }
}

#[test]
fn matrices_are_packed_from_any_strides() {
    for unit in Unit::available() {
        let kernels = pair_kernels(unit);
        for n in [1, 2, 13, 14, 16, 17, 31, 32, 33, 47, 70] {
            for k in [1, 2, 3, 16, 31, 32, 33, 65] {
                for (n_stride, k_stride) in [(k, 1), (k + 5, 1), (1, n), (1, n + 3), (2, 2 * n + 1)] {
                    let w = awkward((n - 1) * n_stride + (k - 1) * k_stride + 1);
                    let (before, capacity) = (BLOCK, pairs(k) + 2 * BLOCK);
                    let mut packed = vec![7; n * capacity];
                    // SAFETY: the slices hold every element that the sizes and strides name.
                    unsafe {
                        let to = packed.as_mut_ptr();
                        (kernels.pack)(n, k, w.as_ptr(), n_stride, k_stride, to, capacity, before);
                    }
                    let at = |n: usize, k_at: usize| if k_at < k { w[n * n_stride + k_at * k_stride] } else { 0.0 };
                    for (start, height) in kernels.strips(n) {
                        for (m, pair) in (0..height).flat_map(|m| (0..capacity).map(move |pair| (m, pair))) {
                            let found = packed[start * capacity + kernels.place(height, m, pair)];
                            let expected = match pair.checked_sub(before) {
                                Some(pair) if pair < pairs(k) => {
                                    word(at(start + m, 2 * pair), at(start + m, 2 * pair + 1))
                                }
                                _ => 7,
                            };
                            assert_eq!(
                                found, expected,
                                "{unit}: {n} x {k}, strides {n_stride} {k_stride}, pair {pair}"
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn panels_are_rounded_and_filled_up() {
    for unit in Unit::available() {
        let kernels = pair_kernels(unit);
        for k in [0_usize, 1, 2, 3, 30, 31, 32, 33, 64, 67] {
            for stride in [32, 37] {
                let x = awkward(k.saturating_sub(1) * stride + LANES);
                let found = kernels.rounded_panel(k, &x, stride);
                assert_eq!(found.len(), pairs(k) * LANES);
                for (index, &found) in found.iter().enumerate() {
                    let (pair, lane) = (index / LANES, index % LANES);
                    let at = |k_at: usize| if k_at < k { x[k_at * stride + lane] } else { 0.0 };
                    assert_eq!(found, word(at(2 * pair), at(2 * pair + 1)), "{unit}: k {k}, pair {pair}, row {lane}");
                }
            }
        }
    }
}

#[test]
fn panels_are_turned_and_filled_up() {
    for unit in Unit::available() {
        let kernels = pair_kernels(unit);
        for features in [1, 3, 16, 17, 32, 33, 70] {
            for rows in [1, 2, 15, 16, 17, 31, 32] {
                let stride = LANES + features % 3;
                let panel = awkward((features - 1) * stride + LANES);
                for (index, found) in kernels.turned_panel(features, rows, &panel, stride).into_iter().enumerate() {
                    let (column, pair, lane) = (index / (BLOCK * LANES), index / LANES % BLOCK, index % LANES);
                    let feature = column * LANES + lane;
                    let at = |row: usize| {
                        if feature < features && row < rows { panel[feature * stride + row] } else { 0.0 }
                    };
                    let expected = word(at(2 * pair), at(2 * pair + 1));
                    assert_eq!(found, expected, "{unit}: feature {feature} of {features}, pair {pair} of {rows} rows");
                }
            }
        }
    }
}

#[test]
fn every_height_equals_plain_loops() {
    for unit in Unit::available() {
        let kernels = pair_kernels(unit);
        for n in (1..=kernels.max_strip + 2).chain([45, 64, 83]) {
            for k in [0, 1, 2, 3, 4, 5, 7, 31, 32, 33, 64, 97, 257] {
                for (c_stride, accumulate) in [(32, false), (32, true), (37, false), (64, true)] {
                    let (w, x) = (values(n * k, 1), values(k * LANES + LANES, 2));
                    let before = values(n * c_stride + LANES, 3);
                    let mut c = before.clone();
                    let (packed, panel) = (kernels.packed(n, k, &w, k, 1), kernels.rounded_panel(k, &x, LANES));
                    kernels.contract(n, k, &packed, &panel, &mut c, c_stride, accumulate);
                    let mut expected = before.clone();
                    for (n, row) in (0..n).flat_map(|n| (0..LANES).map(move |row| (n, row))) {
                        let sum: f32 = (0..k).map(|at| w[n * k + at] * x[at * LANES + row]).sum();
                        let old = if accumulate { before[n * c_stride + row] } else { 0.0 };
                        expected[n * c_stride + row] = old + sum;
                    }
                    assert_eq!(c, expected, "{unit}: {n} outputs, k {k}, stride {c_stride}, {accumulate}");
                }
            }
        }
    }
}

/// An operand is rounded to u / (1 + u) of itself, u = 2⁻⁸, so a product is off by at most 2u of itself; what sums in f32
/// add to that is k · 2⁻²⁴.
#[test]
fn results_are_as_far_off_as_rounding_makes_them() {
    let (n, k) = (45, 300);
    let unit_of = |seed: usize| move |i: usize| (((i + seed) as f32) * 0.618_034).fract() - 0.5;
    let w: Vec<f32> = (0..n * k).map(unit_of(3)).collect();
    let x: Vec<f32> = (0..k * LANES).map(unit_of(8)).collect();
    for unit in Unit::available() {
        let kernels = pair_kernels(unit);
        let mut c = vec![0.0; n * LANES];
        let (packed, panel) = (kernels.packed(n, k, &w, k, 1), kernels.rounded_panel(k, &x, LANES));
        kernels.contract(n, k, &packed, &panel, &mut c, LANES, false);
        for (index, &found) in c.iter().enumerate() {
            let (n, row) = (index / LANES, index % LANES);
            let products =
                |of: fn(f32) -> f64| (0..k).map(|at| (of(w[n * k + at]), of(x[at * LANES + row]))).collect::<Vec<_>>();
            let exact: f64 = products(f64::from).iter().map(|(w, x)| w * x).sum();
            let of_rounded: f64 = products(|value| f64::from(widened(rounded(value)))).iter().map(|(w, x)| w * x).sum();
            let magnitude: f64 = products(f64::from).iter().map(|(w, x)| (w * x).abs()).sum();
            let found = f64::from(found);
            assert!(
                (found - exact).abs() <= (2.0 / 256.0 + k as f64 * 2f64.powi(-24)) * magnitude,
                "{unit}: {found} for {exact}"
            );
            assert!(
                (found - of_rounded).abs() <= k as f64 * 2f64.powi(-24) * magnitude,
                "{unit}: {found} for {of_rounded}"
            );
        }
    }
}

/// A window's blocks, one after the other, for several panels and a few strips at a time.
#[test]
fn blocks_strips_and_panels_may_be_taken_apart() {
    let (n, blocks, k, panels) = (77, 3, 37, 4);
    let capacity = blocks * pairs(k);
    let w = values(n * blocks * k, 1);
    let x: Vec<_> = (0..blocks * panels).map(|i| values(k * LANES, i)).collect();
    for unit in Unit::available() {
        let kernels = pair_kernels(unit);
        let mut packed = vec![0; n * capacity];
        let mut c = vec![f32::NAN; panels * n * LANES];
        for block in 0..blocks {
            let rounded: Vec<u32> =
                (0..panels).flat_map(|panel| kernels.rounded_panel(k, &x[block * panels + panel], LANES)).collect();
            // SAFETY: the matrix has a block of k for each output, the strips room for all blocks, and the panels for all
            // outputs.
            unsafe {
                let offset = block * pairs(k);
                let from = w[block * k..].as_ptr();
                (kernels.pack)(n, k, from, blocks * k, 1, packed.as_mut_ptr(), capacity, offset);
                let strips = kernels.strips(n).len();
                for (first, end) in [(0, 1), (1, strips)] {
                    (kernels.multiply)(&Product {
                        n,
                        first,
                        end,
                        pairs: k.div_ceil(2),
                        w: packed.as_ptr(),
                        capacity,
                        offset,
                        panels,
                        x: rounded.as_ptr(),
                        x_panel: pairs(k) * LANES,
                        c: c.as_mut_ptr(),
                        c_stride: LANES,
                        c_panel: n * LANES,
                        accumulate: usize::from(block > 0),
                    });
                }
            }
        }
        for (index, &found) in c.iter().enumerate() {
            let (panel, output, row) = (index / (n * LANES), index / LANES % n, index % LANES);
            let term = |block: usize, at: usize| {
                w[output * blocks * k + block * k + at] * x[block * panels + panel][at * LANES + row]
            };
            let expected: f32 =
                (0..blocks).flat_map(|block| (0..k).map(move |at| (block, at))).map(|(b, at)| term(b, at)).sum();
            assert_eq!(found, expected, "{unit}: panel {panel}, output {output}, row {row}");
        }
    }
}

#[test]
fn weight_gradients_contract_over_rows() {
    // dW[n][k] = sum over the rows of three panels, the last not full, of G[n][row] · X[k][row].
    let (n, k, panels, rows) = (37, 40_usize, 3, 77);
    let columns = k.div_ceil(LANES);
    let spoiled = |seed: usize, features: usize, panel: usize| {
        let mut values = values(features * LANES, seed);
        // Lanes that are not rows may hold anything.
        values
            .iter_mut()
            .enumerate()
            .filter(|(i, _)| panel * LANES + i % LANES >= rows)
            .for_each(|(_, v)| *v = f32::NAN);
        values
    };
    let gradients: Vec<_> = (0..panels).map(|panel| spoiled(panel, n, panel)).collect();
    let inputs: Vec<_> = (0..panels).map(|panel| spoiled(panel + 9, k, panel)).collect();
    for unit in Unit::available() {
        let kernels = pair_kernels(unit);
        let capacity = panels * BLOCK;
        let mut packed = vec![0; n * capacity];
        let mut turned = vec![0; columns * capacity * LANES];
        let mut partial = vec![0.5; columns * n * LANES];
        for panel in 0..panels {
            let valid = (rows - panel * LANES).min(LANES);
            // SAFETY: the strips and the column panels have room for the pairs of all panels.
            unsafe {
                let from = gradients[panel].as_ptr();
                (kernels.pack)(n, valid, from, LANES, 1, packed.as_mut_ptr(), capacity, panel * BLOCK);
                let to = turned[panel * BLOCK * LANES..].as_mut_ptr();
                (kernels.turn)(k, valid, inputs[panel].as_ptr(), LANES, to, capacity * LANES);
            }
        }
        let product = Product {
            n,
            first: 0,
            end: kernels.strips(n).len(),
            pairs: capacity,
            w: packed.as_ptr(),
            capacity,
            offset: 0,
            panels: columns,
            x: turned.as_ptr(),
            x_panel: capacity * LANES,
            c: partial.as_mut_ptr(),
            c_stride: LANES,
            c_panel: n * LANES,
            accumulate: 1,
        };
        // SAFETY: as above; there is a panel of results for each column panel.
        unsafe { (kernels.multiply)(&product) };
        for (index, &found) in partial.iter().enumerate() {
            let (feature, output) = (index / (n * LANES) * LANES + index % LANES, index / LANES % n);
            let term = |row: usize| {
                let (panel, lane) = (row / LANES, row % LANES);
                gradients[panel][output * LANES + lane] * inputs[panel][feature * LANES + lane]
            };
            let expected = 0.5 + if feature < k { (0..rows).map(term).sum() } else { 0.0 };
            assert_eq!(found, expected, "{unit}: output {output}, feature {feature}");
        }
    }
}

#[test]
fn units_are_there_for_every_thread() {
    for unit in Unit::available() {
        let product = move || {
            let kernels = pair_kernels(unit);
            let mut c = [0.0_f32; 20 * LANES];
            let (packed, panel) =
                (kernels.packed(20, 3, &values(60, 1), 3, 1), kernels.rounded_panel(3, &values(96, 2), 32));
            kernels.contract(20, 3, &packed, &panel, &mut c, LANES, false);
            c
        };
        let here = product();
        let threads: Vec<_> = (0..3).map(|_| std::thread::spawn(product)).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), here, "{unit}");
        }
    }
}

#[test]
fn kernels_of_absent_units_are_refused() {
    for unit in Unit::ALL.into_iter().filter(|unit| !unit.is_available()) {
        assert!(std::panic::catch_unwind(|| pair_kernels(unit)).is_err(), "{unit}");
    }
}

#[test]
fn the_limits_of_the_units_are_measured() {
    for unit in Unit::available() {
        let gflops = visage_kernels::memory::measure::peak_pair_gflops(unit, 1);
        assert!(gflops.is_finite() && gflops > 0.1, "{unit}: {gflops} GFLOP/s");
    }
}
