#include "decoder.h"

#include <algorithm>
#include <cstdio>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

extern "C" {
#include <libavcodec/avcodec.h>
#ifdef HASTEN_AVDEVICE
#include <libavdevice/avdevice.h>
#endif
#include <libavformat/avformat.h>
#include <libavutil/error.h>
#include <libavutil/log.h>
#include <libavutil/pixdesc.h>
}

namespace hasten {
namespace {

constexpr const char* strict = "crccheck+bitstream+buffer+explode";
constexpr const char* read_formats = "yuv420p, yuvj420p, yuv422p, yuvj422p, nv12";
constexpr std::size_t most_waiting = 512;  // packets of which the arrival is remembered
constexpr int pipe_bytes = 1 << 16, poll_ms = 100;

std::string said(int code) {
    char text[AV_ERROR_MAX_STRING_SIZE] = {0};
    av_strerror(code, text, sizeof text);
    return text;
}

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// To the nearest nanosecond. 128 bits hold every product.
Nanoseconds nanoseconds(std::int64_t pts, AVRational base) {
    if (pts == AV_NOPTS_VALUE) return kNoTimestamp;
    const __int128 twice = __int128(2) * base.den, over = __int128(2) * pts * base.num * 1'000'000'000 + base.den;
    __int128 whole = over / twice;
    if (over % twice < 0) --whole;
    return static_cast<Nanoseconds>(whole);
}

}  // namespace

std::string shown(double seconds) {
    char text[32];
    std::snprintf(text, sizeof text, "%g", seconds);
    return text;
}

void set_up_libav() {
    av_log_set_level(AV_LOG_PANIC);  // what it says of damaged frames is told by the frames
#ifdef HASTEN_AVDEVICE
    avdevice_register_all();
#endif
}

bool is_camera(const std::string& place) { return place.rfind("/dev/video", 0) == 0; }

bool has_cameras() { return av_find_input_format("v4l2") != nullptr; }

// What comes through a pipe; it is never waited for without looking whether to stop.
struct Decoder::Pipe {
    std::string name;
    int from;
    const std::atomic<bool>& asked;
    const Patience& patience;
    std::function<void()> stalls;
    Clock::time_point came = Clock::now();
    bool stalled = false, gave_up = false;
    AVIOContext* io = nullptr;

    ~Pipe() {
        if (io) {
            av_freep(&io->buffer);
            avio_context_free(&io);
        }
        if (from > 0) close(from);
    }

    static int read(void* self, std::uint8_t* to, int size) { return static_cast<Pipe*>(self)->read(to, size); }

    int read(std::uint8_t* to, int size) {
        while (!asked) {
            pollfd one{from, POLLIN, 0};
            const int ready = poll(&one, 1, poll_ms);
            const double quiet = seconds_since(came);
            if (ready > 0) {
                const ssize_t got = ::read(from, to, static_cast<std::size_t>(size));
                came = Clock::now(), stalled = false;
                return got > 0 ? static_cast<int>(got) : AVERROR_EOF;
            }
            if (quiet > patience.give_up_s) return gave_up = true, AVERROR_EXIT;
            if (quiet > patience.stall_s && !stalled) stalled = true, stalls();
        }
        return AVERROR_EXIT;
    }
};

Decoder::Decoder(const std::string& place, Kind kind, const Patience& patience, const std::atomic<bool>& asked,
                 std::function<void()> stalls)
    : kind_(kind), patience_(patience), interrupt_{&asked, Clock::time_point::max()} {
    try {
        open(place, kind, std::move(stalls));
    } catch (...) {
        avcodec_free_context(&codec_);
        avformat_close_input(&container_);
        throw;
    }
}

Decoder::~Decoder() {
    avcodec_free_context(&codec_);
    avformat_close_input(&container_);
}

// libav's code. `coded`: how a camera is to encode; null: as it likes, and most like YUYV, which is not read.
int Decoder::input(const std::string& place, const char* coded) {
    container_ = avformat_alloc_context();
    if (pipe_) container_->pb = pipe_->io;
    if (kind_ == Kind::live) {
        container_->interrupt_callback = {[](void* self) {
                                              auto* one = static_cast<Interrupt*>(self);
                                              return *one->asked || Clock::now() > one->until ? 1 : 0;
                                          }, &interrupt_};
        interrupt_.until = Clock::now() + std::chrono::milliseconds(static_cast<int>(1e3 * patience_.stall_s));
    }
    AVDictionary* options = nullptr;
    if (place.rfind("rtsp", 0) == 0) av_dict_set(&options, "rtsp_transport", "tcp", 0);
    if (coded) av_dict_set(&options, "input_format", coded, 0);
    const AVInputFormat* format = is_camera(place) ? av_find_input_format("v4l2") : nullptr;
    const char* name = pipe_ ? nullptr : place.c_str();
    const int code = avformat_open_input(&container_, name, const_cast<AVInputFormat*>(format), &options);
    av_dict_free(&options);
    return code;
}

void Decoder::open(const std::string& place, Kind kind, std::function<void()> stalls) {
    if (kind == Kind::pipe) {
        const int from = place == "-" ? 0 : ::open(place.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (from < 0) throw Error(Error::input, place + " cannot be opened", "give a video that libav can open");
        pipe_.reset(new Pipe{place, from, *interrupt_.asked, patience_, std::move(stalls)});
        auto* buffer = static_cast<std::uint8_t*>(av_malloc(pipe_bytes));
        pipe_->io = avio_alloc_context(buffer, pipe_bytes, 0, pipe_.get(), &Pipe::read, nullptr, nullptr);
    }
    int code = is_camera(place) ? input(place, "mjpeg") : input(place, nullptr);
    if (code < 0 && is_camera(place)) code = input(place, nullptr);
    if (code >= 0) code = avformat_find_stream_info(container_, nullptr);
    if (*interrupt_.asked) throw Stopped{};
    if (pipe_ && pipe_->gave_up)
        throw Error(Error::input, place + " gave nothing for " + shown(patience_.give_up_s) + " s",
                    "see what writes to it");
    if (code < 0)
        throw Error(Error::input, place + " cannot be opened (" + said(code) + ")", "give a video that libav can open");
    const AVCodec* codec = nullptr;
    stream_ = av_find_best_stream(container_, AVMEDIA_TYPE_VIDEO, -1, -1, &codec, 0);
    if (stream_ < 0 || !codec) throw Error(Error::input, "the source has no video", "give one that has");
    codec_ = avcodec_alloc_context3(codec);
    avcodec_parameters_to_context(codec_, container_->streams[stream_]->codecpar);
    codec_->pkt_timebase = container_->streams[stream_]->time_base;
    codec_->thread_count = 1;
    AVDictionary* settings = nullptr;
    av_dict_set(&settings, "err_detect", strict, 0);
    code = avcodec_open2(codec_, codec, &settings);
    av_dict_free(&settings);
    if (code < 0) throw Error(Error::input, place + " cannot be decoded (" + said(code) + ")", "give another encoding");
}

std::string Decoder::run(const std::function<void(Decoded)>& take) {
    std::unique_ptr<AVPacket, void (*)(AVPacket*)> packet(av_packet_alloc(), [](AVPacket* p) { av_packet_free(&p); });
    std::string fault;
    auto came = Clock::now(), framed = came;
    for (;;) {
        interrupt_.until = Clock::now() + std::chrono::milliseconds(static_cast<int>(1e3 * patience_.stall_s));
        const int code = av_read_frame(container_, packet.get());
        if (*interrupt_.asked) throw Stopped{};
        if (pipe_ && pipe_->gave_up)
            throw Error(Error::input,
                        pipe_->name + " gave nothing for " + shown(patience_.give_up_s) + " s",
                        "see what writes to it");
        if (code < 0) {
            if (code != AVERROR_EOF) fault = said(code);
            break;
        }
        if (packet->stream_index == stream_) {
            came = arrived_ = Clock::now();
            if (packet->pts != AV_NOPTS_VALUE) arrivals_[packet->pts] = arrived_;
            while (arrivals_.size() > most_waiting) arrivals_.erase(arrivals_.begin());
            if (packet->flags & AV_PKT_FLAG_CORRUPT) damaged_ = arrived_;
            if (avcodec_send_packet(codec_, packet.get()) < 0)
                damaged_ = arrived_;
            else if (receive(take))
                framed = Clock::now();
        }
        av_packet_unref(packet.get());
        fault = blind(came, framed);
        if (!fault.empty()) break;
    }
    if (fault.empty()) {
        arrived_ = Clock::now();
        avcodec_send_packet(codec_, nullptr);
        receive(take);
    }
    return fault;
}

// Why a live source is given up though something comes: none of it is video, or none of its video is a frame. The
// next key frame may be some way off.
std::string Decoder::blind(Clock::time_point came, Clock::time_point framed) const {
    if (kind_ != Kind::live) return "";
    if (seconds_since(came) > patience_.stall_s) return "it gave no video for " + shown(patience_.stall_s) + " s";
    const double most = patience_.give_up_s / 2;
    return seconds_since(framed) > most ? "its video gave no frame for " + shown(most) + " s" : "";
}

// Whether there was a frame.
bool Decoder::receive(const std::function<void(Decoded)>& take) {
    for (bool any = false;; any = true) {
        std::shared_ptr<AVFrame> frame(av_frame_alloc(), [](AVFrame* f) { av_frame_free(&f); });
        const int code = avcodec_receive_frame(codec_, frame.get());
        if (code == AVERROR(EAGAIN) || code == AVERROR_EOF) return any;
        if (code < 0) {
            damaged_ = arrived_;
            return any;
        }
        take(given(std::move(frame)));
    }
}

bool Decoder::is_trusted(const AVFrame& frame, Clock::time_point came) {
    if (frame.flags & AV_FRAME_FLAG_CORRUPT)
        damaged_ = damaged_ ? std::max(*damaged_, came) : came;
    else if (damaged_ && frame.key_frame && came > *damaged_)
        damaged_.reset();
    return !damaged_;
}

Decoded Decoder::given(std::shared_ptr<AVFrame> frame) {
    const auto format = static_cast<AVPixelFormat>(frame->format);
    const bool packed = format == AV_PIX_FMT_NV12;
    const bool tall = format == AV_PIX_FMT_YUV422P || format == AV_PIX_FMT_YUVJ422P;  // every second row of chroma
    const bool full = format == AV_PIX_FMT_YUVJ420P || format == AV_PIX_FMT_YUVJ422P;
    if (!packed && !tall && !full && format != AV_PIX_FMT_YUV420P) {
        const char* name = av_get_pix_fmt_name(format);
        throw Unread(Error::input, std::string("the source gives frames of ") + (name ? name : "no known format"),
                     std::string("hasten reads ") + read_formats + ": let the source or its encoder give one");
    }
    Decoded made;
    made.frame.time = nanoseconds(frame->pts, container_->streams[stream_]->time_base);
    Image& image = made.frame.image;
    image.format = packed ? Format::nv12 : Format::i420;
    image.width = frame->width, image.height = frame->height;
    for (int i = 0; i < (packed ? 2 : 3); ++i) {
        image.plane[i] = frame->data[i];
        image.stride[i] = frame->linesize[i] * (i && tall ? 2 : 1);
    }
    if (frame->colorspace == AVCOL_SPC_BT709) made.frame.matrix = Matrix::bt709;
    if (frame->colorspace == AVCOL_SPC_BT470BG || frame->colorspace == AVCOL_SPC_SMPTE170M) made.frame.matrix = Matrix::bt601;
    if (frame->color_range == AVCOL_RANGE_MPEG) made.frame.range = Range::limited;
    if (full || frame->color_range == AVCOL_RANGE_JPEG) made.frame.range = Range::full;
    auto when = arrivals_.find(frame->pts);
    made.arrived = when == arrivals_.end() ? arrived_ : when->second;
    made.trusted = is_trusted(*frame, made.arrived);
    if (when != arrivals_.end()) arrivals_.erase(when);
    made.owner = std::move(frame);
    return made;
}

}  // namespace hasten
