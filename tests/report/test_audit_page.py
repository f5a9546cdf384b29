"""The page of an audit, in a real browser."""

import base64
import io

import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from skinbit.audit.findings import Check, Finding, tabulate_findings
from skinbit.audit.page import pages_images, pairs_to_draw, render_audit
from skinbit.audit.summary import AuditSummary, summarise_kinds
from skinbit.config import ReportParams

HOSTILE = "</script><script>document.title='broken'</script>"
SETTINGS = {"n_images": 90, "n_lesions": 40, "split_sha256": 64 * "0", "experiment": "vit_baseline"}
SETTINGS |= {"alike_from": None, "unlike_below": None, "min_points": 8}


def picture(number, size=(40, 30)):
    buffer = io.BytesIO()
    Image.new("RGB", size, (number % 256, 50, 99)).save(buffer, format="JPEG")
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def near_duplicate(number, image_b="shared", similarity=0.99):
    images = (f"image{number:03d}", image_b)
    lesions = (f"lesion{number}", "other")
    return Finding("near_duplicate", "error", images, lesions, "9 points agree", similarity, -number)


MIXED = [
    *(near_duplicate(number) for number in range(30)),
    Finding("look_alike", "warning", ("image001", "image002"), ("lesion1", "lesion2"), "no keypoint matches", 0.98),
    Finding("split_contradiction", "error", ("image003",), ("lesion3",), "the image is missing in the split"),
]
PLACES = {"shared": "test", **{f"image{number:03d}": f"fold {number % 3}" for number in range(30)}, "image000": "test"}


def make_page(findings, thumbnails=None, drawings=None, counts=None, joined=(), checks=(), **params):
    table = tabulate_findings(findings, PLACES)
    images = pages_images(table, 10_000)
    shown = {image: picture(number) for number, image in enumerate(images)} if thumbnails is None else thumbnails
    summary = AuditSummary(
        kinds=summarise_kinds(table, counts or {}), checks=checks, lesions_to_join=joined, **SETTINGS
    )
    return render_audit(table, summary, shown, drawings or {}, ReportParams(**params))


@pytest.fixture
def open_page(chromium, tmp_path):
    """Open an audit's page from disk."""
    chromium.set_window_size(1200, 900)
    chromium.get_log("browser")

    def opened(findings, **options):
        path = tmp_path / "audit.html"
        path.write_text(make_page(findings, **options), encoding="utf-8")
        chromium.get(path.as_uri())
        return chromium

    yield opened
    assert not [entry for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"]


def found(page, selector):
    return page.find_elements(By.CSS_SELECTOR, selector)


def choose(page, value):
    page.find_element(By.CSS_SELECTOR, f"#filters [value={value}]").click()


class TestPage:
    def test_shows_a_pair_with_its_places_and_its_evidence(self, open_page):
        page = open_page([near_duplicate(1)])
        (card,) = found(page, ".pair")
        for words in ("image001", "shared", "lesion lesion1 · fold 1", "lesion other · test", "leak", "error"):
            assert words in card.text
        assert "9 points agree; a leak between fold 1 and the test subset · similarity 0.9900" in card.text
        assert page.execute_script("return [...document.images].every(image => image.naturalWidth === 40)")

    def test_counts_and_filters_by_kind_and_leak(self, open_page):
        page = open_page(MIXED)
        labels = {button.get_attribute("value"): button.text for button in found(page, "#filters button")}
        assert labels["all"] == "All 32"
        assert labels["leak"] == "Leaks 29"
        assert labels["look_alike"].endswith(" 1")
        choose(page, "look_alike")
        assert [card.text.splitlines()[0] for card in found(page, ".pair")] == ["#32"]
        choose(page, "split_contradiction")
        assert len(found(page, ".pair figure")) == 1

    def test_turns_by_keyboard(self, open_page):
        page = open_page(MIXED)
        assert len(found(page, ".pair")) == 25
        page.find_element(By.TAG_NAME, "body").send_keys(Keys.ARROW_RIGHT)
        assert len(found(page, ".pair")) == 7

    def test_draws_matched_points_in_front_of_the_photographs(self, open_page):
        page = open_page([near_duplicate(1)], drawings={("image001", "shared"): picture(9, (90, 30))})
        button = page.find_element(By.CSS_SELECTOR, ".matches")
        button.click()
        (drawing,) = found(page, ".drawing")
        assert page.execute_script("return arguments[0].naturalWidth", drawing) == 90
        button.click()
        assert found(page, ".drawing") == []

    def test_takes_names_for_names(self, open_page):
        page = open_page([near_duplicate(1, HOSTILE)], joined=[[HOSTILE, "b"]], checks=[Check(HOSTILE, False, HOSTILE)])
        assert page.title == "Audit · Skinbit"
        assert HOSTILE in found(page, ".pair")[0].text

    def test_says_what_was_not_checked_and_which_lesions_are_one(self, open_page):
        page = open_page(MIXED, joined=[["a", "b", "c"], ["x", "y"]], checks=[Check("patients", False, "no column")])
        for section in found(page, "details"):
            section.find_element(By.TAG_NAME, "summary").click()
        body = page.find_element(By.TAG_NAME, "body").text
        assert "5\nlesion ids that are probably 2 lesions" in body
        assert "a, b, c" in body
        assert "not checked patients" in body

    def test_says_what_it_leaves_out(self, open_page):
        page = open_page(MIXED, max_pairs=10, max_megabytes=0.001, counts={"look_alike": 5})
        notes = page.find_element(By.CSS_SELECTOR, ".notes").text
        assert "Two lesions with the same skin: 10 of 30 are shown here, 20 left out (report.max_pairs" in notes
        assert "Two lesions that look alike: 1 of 5 are shown here, 4 left out (audit.max_pairs: 1 are in" in notes
        assert "left out: more than 0.001 MB" in notes
        assert "no photograph here" in found(page, ".pair")[-1].text

    def test_without_findings_says_so(self, open_page):
        page = open_page([])
        assert page.find_element(By.TAG_NAME, "h1").text == "Audit: no error, no warning"
        assert "Nothing was found." in page.find_element(By.TAG_NAME, "body").text

    def test_fits_a_phone(self, open_page, chromium):
        chromium.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True},
        )
        try:
            page = open_page([*MIXED, near_duplicate(31, "a" * 200)])
            assert page.execute_script("return document.documentElement.scrollWidth") <= 390
        finally:
            chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    def test_is_the_same_for_equal_input(self):
        assert make_page(MIXED) == make_page(MIXED[::-1])


class TestSummary:
    def summary(self, *severities):
        findings = [
            Finding("identical_bytes", each, (f"a{n}", "b"), ("a", "b"), "said") for n, each in enumerate(severities)
        ]
        kinds = summarise_kinds(tabulate_findings(findings, {}), {})
        return AuditSummary(kinds=kinds, checks=[], lesions_to_join=[], **SETTINGS)

    @pytest.mark.parametrize(
        ("severities", "fail_on", "fails"),
        [
            (("error",), "error", True),
            (("error",), "warning", True),
            (("error",), "none", False),
            (("warning",), "error", False),
            (("warning",), "warning", True),
            ((), "warning", False),
        ],
    )
    def test_fails_from_the_chosen_severity_on(self, severities, fail_on, fails):
        assert self.summary(*severities).is_failed(fail_on) == fails

    def test_is_told_errors_first(self):
        lines = self.summary("warning", "error", "error").lines()
        assert lines == ["2 errors: Identical files", "1 warning: Identical files"]


def test_pairs_that_agree_on_most_points_are_drawn_first():
    table = tabulate_findings(MIXED, PLACES)
    assert pairs_to_draw(table, 10, 2) == [("image000", "shared"), ("image001", "shared")]
