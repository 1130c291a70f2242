// SPDX-License-Identifier: Apache-2.0
#include "cli/serve_model.h"

#include <algorithm>
#include <ctime>
#include <iostream>

#include "base/error.h"
#include "experiments/fine_tuning.h"
#include "experiments/gist_cache.h"
#include "text/tokenizer_config.h"

namespace braid {

namespace {

struct Form {
  FineTuningForm opened;
  bool chats = true;  // it has turns, so that conversations can be put in it
};

// As the user says, else as the run was trained, else as the folder's chat template says, where there is one.
Form open_serving_form(const ServeRequest& request, const AdaptedModel& loaded) {
  DataConfig data = form_for(request.model, loaded);
  data.end_token = false;
  const bool told = !request.model.format.empty();
  if (told || data.format != "raw") return {open_form(data, loaded.shape), true};
  DataConfig own = data;
  own.format = "model";
  try {
    return {open_form(own, loaded.shape), true};
  } catch (const UsageError& problem) {
    Form form{open_form(data, loaded.shape), false};  // throws where the template was not what is wrong
    std::cerr << "braid: no conversations are answered: " << problem.what() << std::endl;
    return form;
  }
}

void add_stop(ServedModel& model, int64_t id) {
  const bool known = std::find(model.stop_ids.begin(), model.stop_ids.end(), id) != model.stop_ids.end();
  if (!known) model.stop_ids.push_back(id);
}

void offer(ServedModel& model, const ServedGists& gists) {
  for (const int64_t id : gists.asking->stop_ids) add_stop(model, id);
  for (const auto& [name, past] : gists.pasts) model.pasts.positions[name] = past.next_position;
  model.pasts.question = [asking = *gists.asking](const std::string& text) { return asking.question(text); };
}

}  // namespace

ServedGists served_gists(const ServeRequest& request, AdaptedModel& loaded) {
  ServedGists served;
  if (request.gists.empty()) return served;
  served.asking = gist_asking_of(loaded);
  for (const NamedGists& one : request.gists) {
    const GistCache cache = read_gist_cache(one.file);
    require_same_weights(cache, loaded, one.file);
    for (int64_t i = 0; i < cache.size(); ++i) {
      served.pasts.emplace(cache.size() == 1 ? one.name : str(one.name, "#", i), kept_past_of(cache, i));
    }
  }
  return served;
}

ServedModelPtr served_model(const ServeRequest& request, const AdaptedModel& loaded, const ServedGists& gists,
                            const World& world) {
  const Form form = open_serving_form(request, loaded);
  ServedModel model{request.name,
                    loaded.model->config().context,
                    std::time(nullptr),
                    form.opened.tokenizer,
                    std::nullopt,
                    form.opened.own_specials,
                    folder_sampling(loaded),
                    loaded.stop_ids,
                    world.places().at(0).device,
                    request.model.precision,
                    {},
                    world.places().at(0).device_id};
  if (form.chats) model.chat = form.opened.chat;
  if (const auto end = end_of_text(form.opened.tokenizer)) add_stop(model, *end);
  if (gists.asking) offer(model, gists);
  return std::make_shared<const ServedModel>(std::move(model));
}

}  // namespace braid
