// The same in C++17: a model and a thread's scratch that free themselves, and errors that are thrown.
//
//     touchdown [--model-id HEX] [--fpr 0.005] [--extrapolate] model.kgd values.f32
#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <knowngood.h>

namespace {

const char *const reasons[] = {"",           "no data", "too many missing", "not finite",  "range",
                               "tester fail", "schema",  "deadline",         "engine fault"};

// What is asked for: an empty model_id takes any model, 0 as the yield loss the file's default.
struct Request {
    std::string model, values, model_id;
    double fpr = 0;
    bool extrapolate = false;
};

struct Die {
    float score;
    std::int8_t verdict, reason;
};

// The test that contributes most to a die's score; column −1 if none does.
struct Worst {
    std::int32_t column = -1;
    double expected = 0;
};

void require(std::int32_t status) {
    if (status != KG_OK) throw std::runtime_error(kg_status_text(status));
}

// A model at one operating point. Any number of threads may share it; each has a Touchdown of its own.
class Screen {
public:
    explicit Screen(const Request &asked) {
        char message[KG_MESSAGE_SIZE];
        kg_model *opened = nullptr;
        if (kg_open_file(asked.model.c_str(), nullptr, &opened, message, sizeof message) != KG_OK)
            throw std::runtime_error(asked.model + ": " + message);
        model_.reset(opened);
        if (!asked.model_id.empty() && asked.model_id != model_id())
            throw std::runtime_error(asked.model + ": expected model_id " + asked.model_id + ", found " + model_id());
        const std::int32_t status = kg_find_point(opened, KG_PRECISION_DEFAULT, asked.fpr, asked.extrapolate, &point_);
        if (status != KG_OK) throw std::runtime_error(asked.model + ": " + kg_status_text(status) + points());
    }
    const kg_model *model() const { return model_.get(); }
    std::int32_t point() const { return point_; }

private:
    // It covers the tests and their order, layers and thresholds.
    std::string model_id() const {
        std::uint8_t id[32];
        char hex[65];
        kg_digests(model_.get(), id, nullptr);
        for (int i = 0; i < 32; i++) std::snprintf(hex + 2 * i, 3, "%02x", id[i]);
        return hex;
    }

    std::string points() const {
        std::ostringstream text("; --fpr takes", std::ios::ate);
        for (std::int32_t p = 0; p < kg_n_points(model_.get()); p++) {
            double fpr = 0;
            std::int32_t supported = 0;
            require(kg_point(model_.get(), KG_PRECISION_DEFAULT, p, &fpr, nullptr, &supported));
            text << ' ' << fpr << (supported ? "" : " (too few dies: with --extrapolate only)");
        }
        return text.str();
    }

    std::unique_ptr<kg_model, decltype(&kg_close)> model_{nullptr, kg_close};
    std::int32_t point_ = 0;
};

// Buffers of one thread, filled again and again: nothing is allocated once the largest batch was seen.
class Touchdown {
public:
    explicit Touchdown(const Screen &screen)
        : screen_(screen), scratch_(static_cast<std::size_t>(kg_scratch_size(screen.model()))) {}

    const std::vector<Die> &score(const std::vector<float> &values) {
        const auto n_tests = static_cast<std::size_t>(kg_n_tests(screen_.model()));
        const std::size_t n = values.size() / n_tests;
        scores_.resize(n), verdicts_.resize(n), reasons_.resize(n), dies_.resize(n);
        require(kg_score(screen_.model(), KG_PRECISION_DEFAULT, screen_.point(), scratch_.data(), values.data(),
                         nullptr, static_cast<std::int64_t>(n), scores_.data(), verdicts_.data(), reasons_.data()));
        for (std::size_t d = 0; d < n; d++) dies_[d] = {scores_[d], verdicts_[d], reasons_[d]};
        return dies_;
    }

    Worst worst(const float *values) {
        Worst worst;
        float z;
        std::int32_t n_found;
        require(kg_contributions(screen_.model(), KG_PRECISION_DEFAULT, screen_.point(), scratch_.data(), values, -1, 1,
                                 &worst.column, &z, &worst.expected, &n_found));
        return n_found ? worst : Worst{};
    }

private:
    const Screen &screen_;
    std::vector<unsigned char> scratch_;
    std::vector<float> scores_;
    std::vector<std::int8_t> verdicts_, reasons_;
    std::vector<Die> dies_;
};

std::vector<float> read_dies(const std::string &path, std::size_t n_tests) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    if (!file) throw std::runtime_error(path + ": cannot be read: " + std::strerror(errno));
    const auto size = static_cast<std::streamoff>(file.tellg());
    const auto row = static_cast<std::streamoff>(n_tests * sizeof(float));
    if (size <= 0 || size % row)
        throw std::runtime_error(path + ": " + std::to_string(size) + " bytes are not whole dies of " +
                                 std::to_string(n_tests) + " tests, " + std::to_string(row) + " bytes each");
    std::vector<float> values(static_cast<std::size_t>(size) / sizeof(float));
    if (!file.seekg(0).read(reinterpret_cast<char *>(values.data()), size))
        throw std::runtime_error(path + ": cannot be read to its end");
    return values;
}

void print_die(std::size_t number, const Die &die, Touchdown &touchdown, const float *values) {
    std::printf("die %zu: ", number);
    if (die.verdict == KG_UNSCORED) {
        std::printf("UNSCORED, %s\n", reasons[die.reason]);
        return;
    }
    std::printf("%s, score %.6g", die.verdict == KG_PASS ? "PASS" : "REJECT", static_cast<double>(die.score));
    const Worst worst = die.verdict == KG_REJECT ? touchdown.worst(values) : Worst{};
    if (worst.column >= 0)
        std::printf("; column %d reads %.6g, expected %.6g", static_cast<int>(worst.column),
                    static_cast<double>(values[worst.column]), worst.expected);
    std::printf("\n");
}

bool parse(const std::vector<std::string> &words, Request &asked) {
    std::size_t i = 0;
    for (; i < words.size() && words[i].compare(0, 2, "--") == 0; i++) {
        if (words[i] == "--extrapolate")
            asked.extrapolate = true;
        else if (words[i] == "--model-id" && i + 1 < words.size())
            asked.model_id = words[++i];
        else if (words[i] == "--fpr" && i + 1 < words.size() && (asked.fpr = std::atof(words[i + 1].c_str())) > 0)
            i++;
        else
            return false;
    }
    if (words.size() - i != 2) return false;
    asked.model = words[i], asked.values = words[i + 1];
    return true;
}

} // namespace

int main(int argc, char **argv) try {
    Request asked;
    if (!parse({argv + 1, argv + argc}, asked)) {
        std::fprintf(stderr,
                     "usage: touchdown [--model-id HEX] [--fpr 0.005] [--extrapolate] model.kgd values.f32\n");
        return 2;
    }
    const Screen screen(asked);
    Touchdown touchdown(screen);
    const auto n_tests = static_cast<std::size_t>(kg_n_tests(screen.model()));
    const auto values = read_dies(asked.values, n_tests);
    const auto &dies = touchdown.score(values);
    for (std::size_t d = 0; d < dies.size(); d++) print_die(d, dies[d], touchdown, values.data() + d * n_tests);
    return std::all_of(dies.begin(), dies.end(), [](const Die &die) { return die.verdict == KG_PASS; }) ? 0 : 1;
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 3;
}
