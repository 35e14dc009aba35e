// The same in C++17: a model and a thread's scratch that free themselves, and errors that are thrown.
//
//     touchdown model.kgd values.f32
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <knowngood.h>

namespace {

const char *const reasons[] = {"",           "no data", "too many missing", "not finite",  "range",
                               "tester fail", "schema",  "deadline",         "engine fault"};

struct Die {
    float score;
    std::int8_t verdict, reason;
};

void require(std::int32_t status) {
    if (status != KG_OK) throw std::runtime_error(kg_status_text(status));
}

// A model at one operating point. Any number of threads may share it; each has a Touchdown of its own.
class Screen {
public:
    explicit Screen(const std::string &path) {
        char message[KG_MESSAGE_SIZE];
        kg_model *opened = nullptr;
        if (kg_open_file(path.c_str(), nullptr, &opened, message, sizeof message) != KG_OK)
            throw std::runtime_error(path + ": " + message);
        model_.reset(opened);
        require(kg_find_point(opened, KG_PRECISION_DEFAULT, 0, 1, &point_));
    }
    const kg_model *model() const { return model_.get(); }
    std::int32_t point() const { return point_; }

private:
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

private:
    const Screen &screen_;
    std::vector<unsigned char> scratch_;
    std::vector<float> scores_;
    std::vector<std::int8_t> verdicts_, reasons_;
    std::vector<Die> dies_;
};

std::vector<float> read_dies(const std::string &path, std::size_t n_tests) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    const std::streamoff size = file ? static_cast<std::streamoff>(file.tellg()) : 0;
    const auto row = static_cast<std::streamoff>(n_tests * sizeof(float));
    if (size <= 0 || size % row) throw std::runtime_error(path + ": not whole dies of " + std::to_string(n_tests) + " tests");
    std::vector<float> values(static_cast<std::size_t>(size) / sizeof(float));
    file.seekg(0).read(reinterpret_cast<char *>(values.data()), size);
    return values;
}

} // namespace

int main(int argc, char **argv) try {
    if (argc != 3) {
        std::fprintf(stderr, "usage: touchdown model.kgd values.f32\n");
        return 2;
    }
    const Screen screen(argv[1]);
    Touchdown touchdown(screen);
    const auto values = read_dies(argv[2], static_cast<std::size_t>(kg_n_tests(screen.model())));
    const auto &dies = touchdown.score(values);
    for (std::size_t d = 0; d < dies.size(); d++)
        if (dies[d].verdict == KG_UNSCORED)
            std::printf("die %zu: UNSCORED, %s\n", d, reasons[dies[d].reason]);
        else
            std::printf("die %zu: %s, score %.6g\n", d, dies[d].verdict == KG_PASS ? "PASS" : "REJECT",
                        static_cast<double>(dies[d].score));
    return std::all_of(dies.begin(), dies.end(), [](const Die &die) { return die.verdict == KG_PASS; }) ? 0 : 1;
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 3;
}
