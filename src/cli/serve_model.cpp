// SPDX-License-Identifier: Apache-2.0
#include "cli/serve_model.h"

#include <algorithm>
#include <ctime>
#include <iostream>

#include "base/error.h"
#include "experiments/fine_tuning.h"
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

}  // namespace

ServedModelPtr served_model(const ServeRequest& request, const AdaptedModel& loaded, const World& world) {
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
                    request.model.precision};
  if (form.chats) model.chat = form.opened.chat;
  const auto end = end_of_text(form.opened.tokenizer);
  const bool known = end && std::find(model.stop_ids.begin(), model.stop_ids.end(), *end) != model.stop_ids.end();
  if (end && !known) model.stop_ids.push_back(*end);
  return std::make_shared<const ServedModel>(std::move(model));
}

}  // namespace braid
