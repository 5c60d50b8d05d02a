use super::*;

const PLACE: Rect = Rect { x: 0.0, y: 0.0, width: 400.0, height: 240.0 };

fn series(name: &str, values: &[Option<f64>]) -> Series {
    let points = values.iter().enumerate().map(|(n, value)| (n as f64 * 10.0, *value)).collect();
    Series::new(name.to_owned(), points)
}

fn drawn(chart: &Chart) -> String {
    let mut document = Document::new(PLACE.width, PLACE.height, &chart.title);
    chart.draw(&mut document, PLACE);
    document.finish()
}

/// The points of each line, in the order of the series.
fn lines(svg: &str) -> Vec<Vec<(f64, f64)>> {
    let paths =
        svg.lines().filter_map(|line| line.split_once("<path class=\"line\" d=\"")?.1.split('"').next());
    let number = |text: &str| text.parse::<f64>().unwrap();
    paths
        .map(|path| {
            let points = path.split(['M', 'L']).filter(|point| !point.is_empty());
            points.map(|point| point.split_once(' ').map(|(x, y)| (number(x), number(y))).unwrap()).collect()
        })
        .collect()
}

#[test]
fn a_chart_without_a_value_says_so() {
    for series in [vec![], vec![series("a", &[None, None])]] {
        let svg = drawn(&Chart { title: "empty".into(), series, ..Chart::default() });
        assert!(svg.contains(">no data<"), "{svg}");
        assert!(lines(&svg).is_empty());
    }
}

#[test]
fn larger_is_higher_and_later_is_further_right() {
    let svg =
        drawn(&Chart { series: vec![series("a", &[Some(1.0), Some(3.0), Some(2.0)])], ..Chart::default() });
    let [line] = &lines(&svg)[..] else { unreachable!("one line") };
    let [(x1, y1), (x2, y2), (x3, y3)] = line[..] else { unreachable!("three points") };
    assert!(x1 < x2 && x2 < x3 && y2 < y3 && y3 < y1, "{line:?}");
    assert!(line.iter().all(|(x, y)| (0.0..=PLACE.width).contains(x) && (0.0..=PLACE.height).contains(y)));
}

#[test]
fn a_missing_value_is_a_gap_and_a_lonely_one_a_dot() {
    let svg = drawn(&Chart { series: vec![series("a", &[Some(1.0), None, Some(2.0)])], ..Chart::default() });
    let path = svg.lines().find(|line| line.contains("class=\"line\"")).unwrap();
    assert_eq!(path.matches('M').count(), 2, "two pieces: {path}");
    assert_eq!(path.matches('L').count(), 2, "each ends where it begins: {path}");
}

#[test]
fn stacked_series_stand_on_each_other() {
    let mut chart = Chart {
        series: vec![series("a", &[Some(2.0), Some(2.0)]), series("b", &[Some(1.0), Some(2.0)])],
        ..Chart::default()
    };
    chart.left.minimum = Some(0.0);
    let apart = lines(&drawn(&chart));
    assert!(apart[1][0].1 > apart[0][0].1, "one is less than two: {apart:?}");
    chart.stacked = true;
    let svg = drawn(&chart);
    let stacked = lines(&svg);
    assert!(stacked[1].iter().zip(&stacked[0]).all(|(upper, lower)| upper.1 < lower.1), "{stacked:?}");
    assert_eq!(svg.matches("class=\"area\"").count(), 2);
}

#[test]
fn a_step_keeps_its_value_until_the_next_point() {
    let mut steps = series("a", &[Some(1.0), Some(3.0)]);
    steps.line = Line::Step;
    let lines = lines(&drawn(&Chart { series: vec![steps], ..Chart::default() }));
    let [first, corner, last] = lines[0][..] else { unreachable!("three points") };
    assert_eq!((corner.0, corner.1), (last.0, first.1));
}

#[test]
fn each_axis_has_its_own_scale() {
    let mut small = series("replicas", &[Some(2.0), Some(4.0)]);
    small.side = Sides::Right;
    let chart = Chart {
        series: vec![series("connections", &[Some(2_000.0), Some(4_000.0)]), small],
        left: Axis { minimum: Some(0.0), ..Axis::default() },
        right: Some(Axis { minimum: Some(0.0), ..Axis::default() }),
        ..Chart::default()
    };
    let svg = drawn(&chart);
    let lines = lines(&svg);
    assert_eq!(lines[0], lines[1], "a thousand times as much, by an axis of a thousand times as much");
    assert!(svg.contains(">4k<") && svg.contains(">4<"), "{svg}");
}

#[test]
fn a_legend_that_is_too_long_says_how_many_are_missing() {
    let names: Vec<_> = (0..60).map(|n| format!("a-server-with-a-name-{n}")).collect();
    let series: Vec<_> = names.iter().map(|name| series(name, &[Some(1.0), Some(2.0)])).collect();
    let chart = Chart { series, ..Chart::default() };
    let svg = drawn(&chart);
    let shown = names.iter().filter(|name| svg.contains(&format!(">{name}<"))).count();
    assert!(shown > 0 && shown < 60);
    assert!(svg.contains(">and "), "{svg}");
    assert!(chart.legend(400.0).len() <= MAX_LEGEND);
}

#[test]
fn what_is_counted_has_no_marks_between_whole_numbers() {
    let chart = Chart {
        series: vec![series("a", &[Some(0.0), Some(1.0)])],
        left: Axis { minimum: Some(0.0), maximum: Some(1.0), whole: true, ..Axis::default() },
        ..Chart::default()
    };
    let svg = drawn(&chart);
    assert!(!svg.contains(">0.5<"), "{svg}");
}

#[test]
fn times_are_shown_as_elapsed_or_as_of_the_day() {
    assert_eq!(elapsed(75.0), "1:15");
    assert_eq!(elapsed(3_675.0), "1:01:15");
    assert_eq!(time_of_day(1_700_000_000.0, false), "22:13");
    assert_eq!(time_of_day(1_700_000_000.0, true), "22:13:20");
}

#[test]
fn a_single_mark_of_half_a_minute_is_not_told_as_a_whole_one() {
    // From 22:13:05 on: in so narrow a chart there is room for 22:13:30 alone.
    let points = vec![(1_699_999_985.0, Some(1.0)), (1_700_000_030.0, Some(1.0))];
    let chart =
        Chart { clock: Clock::Utc, series: vec![Series::new("a".into(), points)], ..Chart::default() };
    let mut document = Document::new(180.0, 200.0, "");
    chart.draw(&mut document, Rect { x: 0.0, y: 0.0, width: 180.0, height: 200.0 });
    let svg = document.finish();
    assert!(svg.contains(">22:13:30<"), "{svg}");
}
